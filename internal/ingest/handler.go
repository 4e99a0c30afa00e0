// Package ingest is the webhook endpoint: it bounds the body, verifies the
// signature over the raw bytes, finds the delivery's id, makes the delivery durable
// in the inbox, and only then answers 2xx. What cannot be stored gets 503, never
// a false 200. It does not know connections, functions or lanes.
package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/crash"
	"syncline/internal/inbox"
)

// Config is what the handler works with. Zero limits take the default.
type Config struct {
	Endpoints *Endpoints
	Inbox     inbox.Log
	// Position is the main store's, which a delivery carries from its receipt.
	Position func(ctx context.Context) (int64, error)
	Clock    clock.Clock
	Log      *slog.Logger
	// MaxBody is the largest body in bytes; default 25 MiB.
	MaxBody int64
	// MaxInFlight bounds the bodies of all requests that are being read or
	// stored, in bytes; default 256 MiB.
	MaxInFlight int64
	// ReadTimeout is how long a request may take to arrive; default 30 s.
	ReadTimeout time.Duration
	// Metrics registers the counters; nil keeps them to itself.
	Metrics prometheus.Registerer
}

type handler struct {
	Config
	room     *semaphore.Weighted
	answers  *prometheus.CounterVec
	duration prometheus.Histogram
}

// Handler returns the handler of /webhook/{environment}/{integration} and
// /webhook/{environment}/{integration}/{connection}.
func Handler(c Config) http.Handler {
	if c.MaxBody == 0 {
		c.MaxBody = 25 << 20
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 256 << 20
	}
	c.MaxInFlight = max(c.MaxInFlight, c.MaxBody)
	if c.ReadTimeout == 0 {
		c.ReadTimeout = 30 * time.Second
	}
	h := &handler{
		Config: c, room: semaphore.NewWeighted(c.MaxInFlight),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "syncline_webhooks_total", Help: "Webhook requests by what was answered: received, duplicate, or the error's code.",
		}, []string{"answer"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "syncline_webhook_seconds", Help: "Time from a webhook request to its answer.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(h.answers, h.duration)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhook/{environment}/{integration}", h)
	mux.Handle("/webhook/{environment}/{integration}/{connection}", h)
	return mux
}

// ServeHTTP takes one delivery.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	receipt, err := h.take(w, r)
	h.duration.Observe(time.Since(began).Seconds())
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		h.answers.WithLabelValues(string(syncline.CodeOf(err))).Inc()
		h.refuse(w, r, err)
		return
	}
	status := "received"
	if receipt.Duplicate {
		status = "duplicate"
	}
	h.answers.WithLabelValues(status).Inc()
	answer(w, http.StatusOK, map[string]any{"status": status, "position": receipt.Position})
}

func (h *handler) take(w http.ResponseWriter, r *http.Request) (inbox.Receipt, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return inbox.Receipt{}, syncline.Errorf(syncline.CodeMethod, "webhooks are taken by POST, not by %s", r.Method)
	}
	ctx := r.Context()
	endpoint, err := h.Endpoints.Find(ctx, r.PathValue("environment"), r.PathValue("integration"))
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return inbox.Receipt{}, syncline.Errorf(syncline.CodeNotFound, "no integration has this webhook URL").
			WithHint("GET /integrations/{key}?include=webhook tells the URL")
	}
	if err != nil {
		return inbox.Receipt{}, unavailable(err)
	}
	body, release, err := h.read(w, r)
	if err != nil {
		return inbox.Receipt{}, err
	}
	defer release()
	d := &syncline.Delivery{
		EnvironmentID: endpoint.EnvironmentID, IntegrationID: endpoint.IntegrationID, ConnectionID: r.PathValue("connection"),
		Method: r.Method, Path: r.URL.RequestURI(), Headers: headers(r), Body: body, ReceivedAt: h.Clock.Now(),
	}
	if err := endpoint.Webhook.Verify(d, endpoint.Secrets, d.ReceivedAt); err != nil {
		return inbox.Receipt{}, err
	}
	// Parsed before it is stored: what no function could ever read is refused
	// while the sender still listens.
	reading, err := endpoint.Webhook.Read(d)
	if err != nil {
		return inbox.Receipt{}, err
	}
	d.DeliveryID = reading.DeliveryID
	if d.Watermark, err = h.Position(ctx); err != nil {
		return inbox.Receipt{}, unavailable(err)
	}
	key := inbox.Key{ID: reading.DeliveryID}
	if key.ID == "" && endpoint.Webhook.DedupeBody > 0 {
		key = inbox.Key{ID: "body", Within: endpoint.Webhook.DedupeBody} // the body's hash is part of every key
	}
	receipt, err := h.Inbox.Append(ctx, d, key)
	if err != nil {
		return inbox.Receipt{}, unavailable(err)
	}
	crash.Point(crash.AfterInboxCommit)
	return receipt, nil
}

// unavailable makes every failure of ours one that the sender tries again.
func unavailable(err error) error {
	if syncline.CodeOf(err) == syncline.CodeUnavailable {
		return err
	}
	return syncline.Errorf(syncline.CodeUnavailable, "the delivery could not be stored: %w", err)
}

// read reads the body within the limits. Room for it is held until release.
func (h *handler) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	tooLarge := syncline.Errorf(syncline.CodeTooLarge, "the body is larger than %d bytes", h.MaxBody).
		WithHint("the limit is --webhook-body-limit")
	if r.ContentLength > h.MaxBody {
		return nil, nil, tooLarge
	}
	need := r.ContentLength
	if need < 0 {
		need = h.MaxBody // unknown: the most that it may be
	}
	if !h.room.TryAcquire(need) {
		return nil, nil, syncline.Errorf(syncline.CodeUnavailable, "too many webhooks arrive at once")
	}
	release = func() { h.room.Release(need) }
	// Not every ResponseWriter has deadlines; the server's own does.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.ReadTimeout))
	body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, h.MaxBody))
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if err == nil {
		return body, release, nil
	}
	release()
	var limit *http.MaxBytesError
	if errors.As(err, &limit) {
		return nil, nil, tooLarge
	}
	return nil, nil, syncline.Errorf(syncline.CodeInvalid, "the body did not arrive whole: %w", err)
}

// hopHeaders are about the connection, not the delivery.
var hopHeaders = map[string]bool{"Connection": true, "Keep-Alive": true, "Transfer-Encoding": true, "Upgrade": true, "Te": true, "Trailer": true}

// headers lists the request's headers, sorted by name: Go does not keep their
// order.
func headers(r *http.Request) []syncline.Header {
	list := make([]syncline.Header, 0, len(r.Header)+1)
	list = append(list, syncline.Header{Name: "Host", Value: r.Host})
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if hopHeaders[name] {
			continue
		}
		for _, v := range r.Header[name] {
			list = append(list, syncline.Header{Name: name, Value: strings.ToValidUTF8(v, "\uFFFD")})
		}
	}
	return list
}

var statuses = map[syncline.Code]int{
	syncline.CodeInvalid: http.StatusBadRequest, syncline.CodeUnauthorized: http.StatusUnauthorized, syncline.CodeNotFound: http.StatusNotFound,
	syncline.CodeMethod: http.StatusMethodNotAllowed, syncline.CodeTooLarge: http.StatusRequestEntityTooLarge,
}

// retryAfter is what a sender that cannot be served is asked to wait, in seconds.
const retryAfter = 5

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	code := syncline.CodeOf(err)
	status, known := statuses[code]
	if !known {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
		h.Log.Error("webhook not stored", "path", r.URL.Path, "err", err)
	} else {
		h.Log.Debug("webhook refused", "path", r.URL.Path, "err", err)
	}
	if status == http.StatusRequestEntityTooLarge {
		w.Header().Set("Connection", "close") // the rest of the body is not read
	}
	message := err.Error()
	answer(w, status, map[string]any{"error": map[string]any{"code": code, "message": message}})
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.WriteHeader(status)
	// The sender may be gone; the delivery is stored all the same.
	_ = json.NewEncoder(w).Encode(body)
}
