package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"syncline/e2e/harness"
	"syncline/internal/standin/github"
)

// records is what is in the cache, by id.
type records map[string]harness.Record

func id(e *github.Event) string { return strconv.FormatInt(e.Issue.ID, 10) }

func (r records) field(e *github.Event, name string) string {
	v, ok := r[id(e)].Fields[name]
	if !ok {
		return ""
	}
	return fmt.Sprint(v)
}

func (r records) title(e *github.Event) string { return r.field(e, "title") }

// newest is the newest change's time and id.
func (r records) newest() string {
	var at time.Time
	var which string
	for id, rec := range r {
		if rec.Modified.After(at) || rec.Modified.Equal(at) && id > which {
			at, which = rec.Modified, id
		}
	}
	return at.String() + " " + which
}

func (r records) summary() string {
	open, closed, deleted := 0, 0, 0
	for _, rec := range r {
		switch {
		case rec.Deleted:
			deleted++
		case rec.Fields["state"] == "closed":
			closed++
		default:
			open++
		}
	}
	return fmt.Sprintf("cache: %d open, %d closed, %d deleted", open, closed, deleted)
}

func (s *story) records(ctx context.Context) (records, error) {
	return s.client.All(ctx, integration, connection, model)
}

// until reads the cache until it is as wanted and returns how long that took
// since began.
func (s *story) until(ctx context.Context, began time.Time, want func(records) bool) (records, time.Duration, error) {
	var last records // what was read before the deadline cut a read short
	for {
		all, err := s.records(ctx)
		if err == nil && want(all) {
			return all, time.Since(began), nil
		}
		if err == nil {
			last = all
		}
		select {
		case <-ctx.Done():
			return last, 0, fmt.Errorf("found %s: %w\nthe server said:\n%s", last.summary(), errors.Join(ctx.Err(), err), s.server.Output())
		case <-time.After(time.Millisecond):
		}
	}
}

// deliver sends a webhook and waits until its effect can be read.
func (s *story) deliver(ctx context.Context, e *github.Event, want func(records) bool) (github.Answer, time.Duration, records, error) {
	began := time.Now()
	a, err := e.Send(ctx, s.http, s.webhook)
	if err != nil {
		return a, 0, nil, err
	}
	if a.Status != http.StatusOK {
		return a, 0, nil, fmt.Errorf("the webhook got %d: %s", a.Status, a.Body)
	}
	all, took, err := s.until(ctx, began, want)
	return a, took, all, err
}

// ended waits until a run has ended.
func (s *story) ended(ctx context.Context, id string) (map[string]any, error) {
	for {
		var out struct {
			Run map[string]any `json:"run"`
		}
		if err := s.client.Do(ctx, http.MethodGet, "/runs/"+id, nil, nil, &out); err != nil {
			return nil, err
		}
		if out.Run["status"] != "running" {
			return out.Run, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("run %s does not end: %w", id, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// idle waits until no poll runs.
func (s *story) idle(ctx context.Context) error {
	for {
		running, err := s.client.Runs(ctx, "kind=poll&status=running&limit=1")
		if err != nil || len(running) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("a poll does not end: %w", ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// untrue says what was expected and found, and the cause where there is one.
func untrue(cause error, format string, args ...any) error {
	if cause == nil {
		return fmt.Errorf(format, args...)
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), cause)
}

// same checks that the cache equals the stand-in's issues.
func (s *story) same(all records) error {
	live := 0
	for _, r := range all {
		if !r.Deleted {
			live++
		}
	}
	issues := s.github.Issues()
	if live != len(issues) {
		return fmt.Errorf("the cache has %d live records, GitHub has %d issues", live, len(issues))
	}
	for _, i := range issues {
		r := all[strconv.FormatInt(i.ID, 10)]
		if r.Deleted || r.Fields["title"] != i.Title || r.Fields["state"] != i.State {
			return fmt.Errorf("issue %d is %q, %s at GitHub; the cache has %v, deleted %t", i.Number, i.Title, i.State, r.Fields, r.Deleted)
		}
	}
	return nil
}
