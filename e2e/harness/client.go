package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Client speaks the HTTP API of one server and environment.
type Client struct {
	URL, Key string
	HTTP     *http.Client
}

// Client returns a client of the server.
func (s *Server) Client() *Client {
	return &Client{URL: s.URL, Key: Key, HTTP: &http.Client{
		Timeout: 60 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}}
}

// Error is an answer with another status than 2xx.
type Error struct {
	Status int
	Body   string
}

func (e *Error) Error() string { return fmt.Sprintf("status %d: %s", e.Status, e.Body) }

// Do makes one request; in and out may be nil.
func (c *Client) Do(ctx context.Context, method, path string, header map[string]string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.URL+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.Key)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := c.HTTP.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return &Error{resp.StatusCode, string(text)}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// Setup is what a test or a story needs of an environment.
type Setup struct {
	Integration  string // unique key; the provider is github
	ProxyBaseURL string
	Secret       string // of webhooks
	Token        string
	Repository   string // of the connection
	Connection   string
	WebhookURL   string // of the user's app; "" for none
}

// Prepare makes the integration and the connection, and sets the app's URL.
func (c *Client) Prepare(ctx context.Context, s Setup) error {
	if s.WebhookURL != "" {
		if err := c.Do(ctx, http.MethodPatch, "/environments/current", nil, map[string]any{"webhook_url": s.WebhookURL}, nil); err != nil {
			return err
		}
	}
	err := c.Do(ctx, http.MethodPost, "/integrations", nil, map[string]any{
		"unique_key": s.Integration, "provider": "github",
		"config": map[string]any{"proxy_base_url": s.ProxyBaseURL, "webhook": map[string]any{"secrets": []string{s.Secret}}},
	}, nil)
	if err != nil {
		return err
	}
	return c.Connect(ctx, s)
}

// Connect makes a connection.
func (c *Client) Connect(ctx context.Context, s Setup) error {
	return c.Do(ctx, http.MethodPost, "/connections", nil, map[string]any{
		"provider_config_key": s.Integration, "connection_id": s.Connection,
		"credentials": map[string]any{"type": "OAUTH2", "access_token": s.Token},
		"metadata":    map[string]any{"repository": s.Repository},
	}, nil)
}

// WebhookURL is where the integration's webhooks go.
func (c *Client) WebhookURL(ctx context.Context, integration string) (string, error) {
	var out struct {
		Data struct {
			WebhookURL string `json:"webhook_url"`
		} `json:"data"`
	}
	err := c.Do(ctx, http.MethodGet, "/integrations/"+integration+"?include=webhook", nil, nil, &out)
	return out.Data.WebhookURL, err
}

// SigningKey is the key that notifications are signed with.
func (c *Client) SigningKey(ctx context.Context) (string, error) {
	var out struct {
		Key string `json:"webhook_signing_key"`
	}
	err := c.Do(ctx, http.MethodGet, "/environments/current", nil, nil, &out)
	return out.Key, err
}

// Record is a record with its metadata.
type Record struct {
	ID       string
	Fields   map[string]any
	Action   string // ADDED, UPDATED or DELETED
	Deleted  bool
	Cursor   string
	Modified time.Time
}

// Page is one page of records.
type Page struct {
	Records []Record
	Next    string // "" on the last page
}

// Records reads one page of a model.
func (c *Client) Records(ctx context.Context, integration, connection, model, cursor string, limit int) (Page, error) {
	q := url.Values{"model": {model}, "limit": {strconv.Itoa(limit)}}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	var raw struct {
		Records []map[string]any `json:"records"`
		Next    *string          `json:"next_cursor"`
	}
	err := c.Do(ctx, http.MethodGet, "/records?"+q.Encode(), map[string]string{"Provider-Config-Key": integration, "Connection-Id": connection}, nil, &raw)
	if err != nil {
		return Page{}, err
	}
	var p Page
	if raw.Next != nil {
		p.Next = *raw.Next
	}
	for _, fields := range raw.Records {
		meta, _ := fields["_nango_metadata"].(map[string]any)
		delete(fields, "_nango_metadata")
		r := Record{ID: fmt.Sprint(fields["id"]), Fields: fields, Deleted: meta["deleted_at"] != nil}
		r.Action, _ = meta["last_action"].(string)
		r.Cursor, _ = meta["cursor"].(string)
		if text, _ := meta["last_modified_at"].(string); text != "" {
			if r.Modified, err = time.Parse(time.RFC3339Nano, text); err != nil {
				return Page{}, err
			}
		}
		p.Records = append(p.Records, r)
	}
	return p, nil
}

// All reads every record of a model, tombstones included, by id.
func (c *Client) All(ctx context.Context, integration, connection, model string) (map[string]Record, error) {
	all := map[string]Record{}
	cursor := ""
	for {
		p, err := c.Records(ctx, integration, connection, model, cursor, 1000)
		if err != nil {
			return nil, err
		}
		for _, r := range p.Records {
			all[r.ID] = r
		}
		if p.Next == "" {
			return all, nil
		}
		cursor = p.Next
	}
}

// Status is what the server has still to do.
type Status struct {
	Backlog  int `json:"backlog"`
	Unrouted int `json:"received_not_routed"`
	Pending  int `json:"notifications_pending"`
	Parked   int `json:"parked"`
}

// Status reads it.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.Do(ctx, http.MethodGet, "/status", nil, nil, &s)
	return s, err
}

// Quiet waits until every delivery has ended and every notification was sent.
func (c *Client) Quiet(ctx context.Context) error {
	for {
		s, err := c.Status(ctx)
		if err == nil && s.Backlog == 0 && s.Unrouted == 0 && s.Pending == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("work remains: %+v: %w", s, errors.Join(ctx.Err(), err))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Runs lists runs, newest first. query is appended ("kind=poll&limit=1").
func (c *Client) Runs(ctx context.Context, query string) ([]map[string]any, error) {
	var out struct {
		Runs []map[string]any `json:"runs"`
	}
	err := c.Do(ctx, http.MethodGet, "/runs?"+query, nil, nil, &out)
	return out.Runs, err
}

// Delivery is what became of a delivery.
type Delivery struct {
	Position   int64  `json:"position"`
	Status     string `json:"status"`
	Reason     string `json:"reason"`
	DeliveryID string `json:"delivery_id"`
	Duplicates int    `json:"duplicates"`
}

// Deliveries lists deliveries, newest first.
func (c *Client) Deliveries(ctx context.Context, query string) ([]Delivery, error) {
	var out struct {
		Deliveries []Delivery `json:"deliveries"`
	}
	err := c.Do(ctx, http.MethodGet, "/deliveries?"+query, nil, nil, &out)
	return out.Deliveries, err
}

// Trigger asks for a poll at once.
func (c *Client) Trigger(ctx context.Context, integration, connection, sync string) error {
	return c.command(ctx, "trigger", integration, connection, sync)
}

// Pause stops the schedule of a sync. It can still be triggered.
func (c *Client) Pause(ctx context.Context, integration, connection, sync string) error {
	return c.command(ctx, "pause", integration, connection, sync)
}

// Resume starts the schedule of a sync again, with a poll at once.
func (c *Client) Resume(ctx context.Context, integration, connection, sync string) error {
	return c.command(ctx, "start", integration, connection, sync)
}

func (c *Client) command(ctx context.Context, verb, integration, connection, sync string) error {
	return c.Do(ctx, http.MethodPost, "/sync/"+verb, nil, map[string]any{
		"provider_config_key": integration, "connection_id": connection, "syncs": []string{sync},
	}, nil)
}
