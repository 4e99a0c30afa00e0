package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"syncline"
)

// tailEvery is how often new runs and logs are asked for.
const tailEvery = 300 * time.Millisecond

// tail prints runs with their logs as they come.
type tail struct {
	Streams
	client *client
	print  func(format string, args ...any)
}

// tailed is what was printed of a run.
type tailed struct {
	after int64 // the last log line
	begun bool  // its heading
	over  bool
}

// run prints runs that begin after it was called, until ctx ends. A server that
// does not answer is waited for.
func (t *tail) run(ctx context.Context) error {
	seen := map[string]*tailed{}
	first, told := true, false
	for ctx.Err() == nil {
		err := t.look(ctx, seen, first)
		switch {
		case err == nil:
			first, told = false, false
		case ctx.Err() != nil: // the loop ends
		case syncline.CodeOf(err) != syncline.CodeUnavailable:
			return err
		case !told:
			t.print("%s; waiting for it", clean(firstLine(err)))
			told = true
		}
		_ = pause(ctx, tailEvery)
	}
	return nil
}

// look prints what is new. What there is at the first look is old.
func (t *tail) look(ctx context.Context, seen map[string]*tailed, first bool) error {
	var list runList
	if err := t.client.get(ctx, "/runs", url.Values{"limit": {"200"}}, &list); err != nil {
		return err
	}
	runs, err := list.decode()
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	for i := len(runs) - 1; i >= 0; i-- {
		r := &runs[i]
		listed[r.ID] = true
		state := seen[r.ID]
		if state == nil {
			state = &tailed{over: first && !r.running()}
			seen[r.ID] = state
		}
		if state.over {
			continue
		}
		if err := t.more(ctx, r, state); err != nil {
			return err
		}
	}
	for id := range seen {
		if !listed[id] {
			delete(seen, id)
		}
	}
	return nil
}

// more prints the new log lines of a run, and how it ended.
func (t *tail) more(ctx context.Context, r *run, state *tailed) error {
	fresh, err := logsAfter(ctx, t.client, "/runs/"+url.PathEscape(r.ID), state.after)
	if err != nil {
		return err
	}
	p := t.colours()
	name := fmt.Sprintf("%s %s, %s", r.Kind, clean(r.name()), clean(r.ConnectionID))
	if len(fresh) > 0 && !state.begun {
		t.print("%s", p.paint("dim", "▸ "+name))
		state.begun = true
	}
	for _, l := range fresh {
		state.after = l.ID
		data := ""
		if len(l.Data) > 0 && string(l.Data) != "null" {
			data = " " + p.paint("dim", shorten(clean(string(l.Data)), 200))
		}
		t.print("    %s %s%s", p.paint(statusTones[l.Level], fmt.Sprintf("%-5s", l.Level)), clean(l.Message), data)
	}
	if r.running() {
		return nil
	}
	state.over = true
	parts := []string{p.status(r.Status), name}
	for _, part := range []string{r.duration(), clean(r.result())} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	t.print("%s", strings.Join(parts, "  "))
	return nil
}
