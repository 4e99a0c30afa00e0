package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"syncline"
	"syncline/internal/crash"
	"syncline/internal/secret"
	"syncline/internal/store"
)

// maxReason bounds what is kept of why an attempt failed, in bytes.
const maxReason = 500

// outcome is what became of one attempt.
type outcome struct {
	env, id   int64
	at        time.Time
	delivered bool
	final     bool   // failed, and no further attempt can help
	down      bool   // the destination is at fault, not this notification
	reason    string // why it failed; for people
	// retryAfter is how long the app asked to be left alone; zero when it did not.
	retryAfter time.Duration
}

// deliver makes one attempt. sent is false when there was nothing to do or ctx
// ended it: no attempt is counted then.
func (s *Sender) deliver(ctx context.Context, n *syncline.Notification) (o outcome, sent bool) {
	o = outcome{env: n.EnvironmentID, id: n.ID}
	var env syncline.Environment
	pending := true
	err := s.conf.Store.View(ctx, func(r store.Reader) error {
		// The state may have moved since the pass.
		current, err := r.Notification(n.EnvironmentID, n.ID)
		if err != nil {
			return err
		}
		*n, pending = current, current.Status == syncline.NotificationPending
		env, err = r.Environment(n.EnvironmentID)
		return err
	})
	switch {
	case syncline.CodeOf(err) == syncline.CodeNotFound:
		o.final, o.reason = true, "the environment no longer exists"
		return o, true
	case err != nil && ctx.Err() != nil, err == nil && !pending:
		return o, false
	case err != nil:
		o.down, o.reason = true, clip("it could not be read: "+err.Error())
		return o, true
	}
	target := urlOf(&env, n.Target)
	if target == "" {
		o.final, o.reason = true, fmt.Sprintf("the environment has no %s webhook URL any more; set one and resend", n.Target)
		return o, true
	}
	key, err := s.conf.Secrets.Open(env.ID, secret.PurposeSigningKey, env.SigningKey)
	if err == nil && len(key) == 0 {
		err = errors.New("the environment has no signing key")
	}
	if err != nil {
		o.down, o.reason = true, clip("it could not be signed: "+err.Error())
		return o, true
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.conf.Timeout, errTimeout)
	defer cancel()
	err = s.post(ctx, &o, n, target, string(key))
	if err != nil {
		if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errTimeout) {
			return o, false // shutdown
		}
		o.down, o.reason = true, clip(s.explain(ctx, target, err))
	}
	if o.delivered {
		crash.Point(crash.AfterNotify)
	}
	return o, true
}

var errTimeout = errors.New("timeout")

// post sends the request and reads the answer into o; the error says that there
// was none.
func (s *Sender) post(ctx context.Context, o *outcome, n *syncline.Notification, target, key string) error {
	u, err := url.Parse(target)
	if err != nil {
		return errors.New("the webhook URL is not valid")
	}
	if err := s.conf.Policy.CheckURL(u); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(n.Payload))
	if err != nil {
		return errors.New("the webhook URL is not valid")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.conf.UserAgent)
	req.Header.Set(HeaderHMAC, Sign(key, n.Payload))
	req.Header.Set(HeaderSignature, legacySignature(key, n.Payload))
	req.Header.Set(HeaderID, n.UUID)
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	// Enough of the answer to say what was wrong, and to keep the connection.
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	_ = resp.Body.Close()

	status := resp.StatusCode
	switch {
	case status >= 200 && status < 300:
		o.delivered = true
		return nil
	case status >= 300 && status < 400:
		o.down = true
		o.reason = fmt.Sprintf("the app answered %d (a redirect): set the final URL, redirects are not followed", status)
		return nil
	}
	// Only these speak of this notification; any other is the app's state.
	o.down = status != http.StatusBadRequest && status != http.StatusRequestEntityTooLarge && status != http.StatusUnprocessableEntity
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		o.retryAfter = retryAfter(resp.Header.Get("Retry-After"), s.conf.Clock.Now())
	}
	o.reason = fmt.Sprintf("the app answered %d", status)
	if text := printable(answer); text != "" {
		o.reason = clip(o.reason + ": " + text)
	}
	return nil
}

func retryAfter(text string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.Atoi(strings.TrimSpace(text)); err == nil {
		d = time.Duration(min(max(seconds, 0), 24*3600)) * time.Second
	} else if t, err := http.ParseTime(text); err == nil {
		d = t.Sub(now)
	}
	return min(max(d, 0), time.Hour)
}

// explain says why there was no answer. The URL is not repeated beyond its
// host: its path or query may hold a secret of the app.
func (s *Sender) explain(ctx context.Context, target string, err error) string {
	host := "the app"
	if u, perr := url.Parse(target); perr == nil && u.Host != "" {
		host = u.Host
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		return fmt.Sprintf("%s did not answer within %s", host, s.conf.Timeout)
	}
	var refused *syncline.Error
	if errors.As(err, &refused) {
		return refused.Error()
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the URL
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return fmt.Sprintf("the name %s could not be resolved", host)
	}
	if errors.Is(err, io.EOF) {
		return host + " closed the connection without an answer"
	}
	return fmt.Sprintf("%s could not be reached: %v", host, err)
}

// printable is the start of an answer as one line of text, or "" when it is
// binary.
func printable(answer []byte) string {
	text := strings.ToValidUTF8(string(answer[:min(len(answer), 4*maxReason)]), "")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	return text
}

func clip(text string) string {
	if len(text) <= maxReason {
		return text
	}
	return strings.ToValidUTF8(text[:maxReason], "") + "…"
}

// note writes an outcome into the outbox. What was resent or deleted meanwhile
// stays as it is now.
func (s *Sender) note(ctx context.Context, o outcome) error {
	random := s.conf.Rand()
	return s.conf.Store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
		n, err := tx.Notification(o.env, o.id)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if n.Status != syncline.NotificationPending {
			return nil
		}
		n.Attempts++
		n.LastError = o.reason
		switch {
		case o.delivered:
			n.Status, n.DeliveredAt, n.LastError = syncline.NotificationDelivered, o.at, ""
		case o.final || n.Attempts >= maxAttempts:
			n.Status = syncline.NotificationFailed
		default:
			n.NextAttemptAt = o.at.Add(max(backoff(n.Attempts, random), o.retryAfter))
		}
		return tx.UpdateNotification(&n)
	})
}

// noteAgain writes the outcomes that the store did not take.
func (s *Sender) noteAgain(ctx context.Context) error {
	for {
		s.mu.Lock()
		if len(s.unnoted) == 0 {
			s.mu.Unlock()
			return nil
		}
		o := s.unnoted[0]
		s.unnoted = s.unnoted[1:]
		s.mu.Unlock()
		if err := s.note(ctx, o); err != nil {
			s.mu.Lock()
			s.unnoted = append(s.unnoted, o)
			s.mu.Unlock()
			return err
		}
	}
}
