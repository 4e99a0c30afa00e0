package github

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Event is a change of the repository that GitHub would tell by a webhook. It
// is sent when Send is called: not at all, late, or more than once, as the story
// wants it.
type Event struct {
	Action     string
	Issue      Issue // as it was after the change
	DeliveryID string
	Body       []byte

	secret string
}

// Answer is what the receiver of a webhook said.
type Answer struct {
	Status int
	Body   string
	Took   time.Duration
}

func (s *Server) event(action string, i *Issue) *Event {
	s.delivery++
	e := &Event{
		Action: action, Issue: *i, secret: s.o.Secret,
		DeliveryID: fmt.Sprintf("00000000-0000-4000-8000-%012d", s.delivery),
	}
	var err error
	if e.Body, err = s.o.Payloads.body(action, s.json(i), s.o.Owner, s.o.Name); err != nil {
		panic("github stand-in: " + err.Error()) // the examples are fixed
	}
	return e
}

// Sign is the value of X-Hub-Signature-256 for a body.
func Sign(body []byte, secret string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write(body)
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

// Request makes the webhook's request, signed.
func (e *Event) Request(ctx context.Context, url string) (*http.Request, error) {
	return e.request(ctx, url, Sign(e.Body, e.secret))
}

func (e *Event) request(ctx context.Context, url, signature string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(e.Body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "GitHub-Hookshot/0000000")
	r.Header.Set("X-GitHub-Event", "issues")
	r.Header.Set("X-GitHub-Delivery", e.DeliveryID)
	r.Header.Set("X-Hub-Signature-256", signature)
	return r, nil
}

// Send posts the webhook and returns the answer.
func (e *Event) Send(ctx context.Context, client *http.Client, url string) (Answer, error) {
	r, err := e.Request(ctx, url)
	if err != nil {
		return Answer{}, err
	}
	return do(client, r)
}

// SendSignedWith posts the webhook signed with another secret.
func (e *Event) SendSignedWith(ctx context.Context, client *http.Client, url, secret string) (Answer, error) {
	r, err := e.request(ctx, url, Sign(e.Body, secret))
	if err != nil {
		return Answer{}, err
	}
	return do(client, r)
}

func do(client *http.Client, r *http.Request) (Answer, error) {
	began := time.Now()
	resp, err := client.Do(r)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return Answer{resp.StatusCode, string(body), time.Since(began)}, err
}
