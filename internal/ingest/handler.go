// Package ingest is the webhook endpoint: it bounds the body, verifies the
// signature over the raw bytes, finds the delivery's id, makes the delivery durable
// in the inbox, and only then answers 2xx. What cannot be stored gets 503, never
// a false 200. A body that is signed well but that no function could ever read
// (not JSON, not valid UTF-8, nested too deeply) gets 400 and is not stored. It
// does not know connections, functions or lanes.
//
// Its statuses are its own, apart from the HTTP API's: the callers are external
// APIs, to which every failure of ours must be one to try again after.
package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/crash"
	"syncline/internal/inbox"
	"syncline/internal/provider"
)

// Config is what the handler works with. Zero limits take the default.
type Config struct {
	Endpoints *Endpoints
	Inbox     inbox.Log
	// Position is the main store's, which a delivery carries from its receipt.
	Position func(ctx context.Context) (int64, error)
	Clock    clock.Clock
	Log      *slog.Logger
	// PublicURL is where external APIs reach this server: some sign it.
	PublicURL string
	// MaxBody is the largest body in bytes; default 25 MiB.
	MaxBody int64
	// MaxInFlight bounds what has arrived of the bodies of all requests that are
	// being read or stored, in bytes; default 256 MiB, at least twice MaxBody.
	MaxInFlight int64
	// ReadTimeout is how long a request may take to arrive; default 30 s.
	ReadTimeout time.Duration
	// Metrics registers the counters; nil keeps them to itself.
	Metrics prometheus.Registerer
}

type handler struct {
	Config
	inFlight atomic.Int64 // bytes of bodies that are held now
	answers  *prometheus.CounterVec
	refused  *prometheus.CounterVec
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
	c.MaxInFlight = max(c.MaxInFlight, 2*c.MaxBody+chunk) // room for one, as its buffer grows
	if c.ReadTimeout == 0 {
		c.ReadTimeout = 30 * time.Second
	}
	h := &handler{
		Config: c,
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "syncline_webhooks_total", Help: "Webhook requests by what was answered: received, duplicate, or the error's code.",
		}, []string{"answer"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "syncline_webhooks_refused_total", Help: "Webhook requests that did not verify, by the check that failed.",
		}, []string{"reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "syncline_webhook_seconds", Help: "Time from a webhook request to its answer.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(h.answers, h.refused, h.duration)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", h.unknown)
	mux.Handle("/webhook/{environment}/{integration}", h)
	mux.Handle("/webhook/{environment}/{integration}/{connection}", h)
	return mux
}

// ServeHTTP takes one delivery.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	receipt, err := h.take(w, r)
	h.duration.Observe(time.Since(began).Seconds())
	if err != nil {
		h.answers.WithLabelValues(string(syncline.CodeOf(err))).Inc()
		if reason := provider.RefusalOf(err); reason != "" {
			h.refused.WithLabelValues(string(reason)).Inc()
		}
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

// unknown answers what is not the URL of a webhook.
func (h *handler) unknown(w http.ResponseWriter, r *http.Request) {
	h.answers.WithLabelValues(string(syncline.CodeNotFound)).Inc()
	h.refuse(w, r, errUnknown)
}

var errUnknown = syncline.Errorf(syncline.CodeNotFound, "no integration has this webhook URL").
	WithHint("GET /integrations/{key}?include=webhook tells the URL")

func (h *handler) take(w http.ResponseWriter, r *http.Request) (inbox.Receipt, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return inbox.Receipt{}, syncline.Errorf(syncline.CodeMethod, "webhooks are taken by POST, not by %s", r.Method)
	}
	ctx := r.Context()
	endpoint, err := h.Endpoints.Find(ctx, r.PathValue("environment"), r.PathValue("integration"))
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return inbox.Receipt{}, errUnknown
	}
	if err != nil {
		return inbox.Receipt{}, unavailable(err)
	}
	d := &syncline.Delivery{
		EnvironmentID: endpoint.EnvironmentID, IntegrationID: endpoint.IntegrationID, ConnectionID: r.PathValue("connection"),
		Method: r.Method, Path: r.URL.RequestURI(), Headers: headers(r), ReceivedAt: h.Clock.Now(),
	}
	// Before the body has arrived: what it says was settled before it was sent,
	// so whatever is written to the cache from here on may be newer.
	if d.Watermark, err = h.Position(ctx); err != nil {
		return inbox.Receipt{}, unavailable(err)
	}
	body, release, err := h.read(w, r)
	defer release()
	if err != nil {
		return inbox.Receipt{}, err
	}
	d.Body = body
	if err := endpoint.Webhook.Verify(d, endpoint.Secrets, h.PublicURL, h.Clock.Now()); err != nil {
		return inbox.Receipt{}, err
	}
	// Parsed before it is stored: what no function could ever read is refused
	// while the sender still listens.
	reading, err := endpoint.Webhook.Read(d)
	if err != nil {
		return inbox.Receipt{}, err
	}
	d.DeliveryID = reading.DeliveryID
	receipt, err := h.Inbox.Append(ctx, d, dedupeKey(endpoint.Webhook, reading))
	if err != nil {
		return inbox.Receipt{}, unavailable(err)
	}
	crash.Point(crash.AfterInboxCommit)
	return receipt, nil
}

// dedupeKey tells by what redeliveries are recognised. The hash of the body is
// part of every key.
func dedupeKey(w *provider.Webhook, r *provider.Reading) inbox.Key {
	switch {
	case r.DeliveryID != "":
		return inbox.Key{ID: "id:" + r.DeliveryID}
	case w.DedupeBody > 0:
		return inbox.Key{ID: "body", Within: time.Duration(w.DedupeBody)}
	}
	return inbox.Key{}
}

// unavailable makes every failure of ours one that the sender tries again. It
// names a limit that was hit, and nothing else of our inside: the sender is a
// stranger, and the log has it.
func unavailable(err error) error {
	shown := &syncline.Error{Code: syncline.CodeUnavailable, Message: "the delivery cannot be stored now", Err: err}
	var e *syncline.Error
	if errors.As(err, &e) && e.Code == syncline.CodeUnavailable && e.Err == nil {
		shown.Message, shown.Hint = e.Message, e.Hint
	}
	return shown
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
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		status = http.StatusRequestTimeout
	case !known:
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	if !known && r.Context().Err() == nil {
		h.Log.Error("webhook not stored", "path", r.URL.Path, "err", err)
	} else {
		h.Log.Debug("webhook refused", "path", r.URL.Path, "err", err)
	}
	answer(w, status, map[string]any{"error": map[string]any{"code": code, "message": message(err)}})
}

// message is what the sender reads: without the cause, which may be of our inside.
func message(err error) string {
	var e *syncline.Error
	if !errors.As(err, &e) {
		return "the delivery cannot be stored now"
	}
	shown := *e
	shown.Err = nil
	return shown.Error()
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The sender may be gone; the delivery is stored all the same.
	_ = json.NewEncoder(w).Encode(body)
}
