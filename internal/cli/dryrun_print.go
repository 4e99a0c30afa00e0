package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"syncline"
	"syncline/internal/fixture"
	"syncline/internal/fn"
)

// dryPrinter shows what a dry run does as it does it.
type dryPrinter struct {
	Streams
	quiet, verbose bool

	mu     sync.Mutex
	totals map[string]*dryTotal
	order  []string // models as they came
	calls  []dryCall
	logs   []syncline.LogLine
	saved  json.RawMessage // the newest checkpoint
}

// dryTotal is what came of a model.
type dryTotal struct {
	Added     int               `json:"added"`
	Updated   int               `json:"updated"`
	Deleted   int               `json:"deleted"`
	Unchanged int               `json:"unchanged"`
	Unknown   int               `json:"unknown,omitempty"` // deleted or updated, and not in the cache
	Records   []json.RawMessage `json:"records,omitempty"`
}

// dryCall is one HTTP request of the function.
type dryCall struct {
	Method     string  `json:"method"`
	Endpoint   string  `json:"endpoint"`
	Status     int     `json:"status,omitempty"`
	Error      string  `json:"error,omitempty"`
	DurationMS float64 `json:"duration_ms"`
}

func (p *dryPrinter) line(tone, format string, args ...any) {
	if !p.quiet {
		fmt.Fprintln(p.Out, p.colours().paint(tone, clean(fmt.Sprintf(format, args...))))
	}
}

func (p *dryPrinter) log(l syncline.LogLine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.logs = append(p.logs, l)
	tone := map[syncline.LogLevel]string{"error": "bad", "warn": "warn", "debug": "dim"}[l.Level]
	p.line(tone, "log %s: %s", l.Level, l.Message)
}

func (p *dryPrinter) http(method, endpoint string, status int, err error, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := dryCall{Method: method, Endpoint: endpoint, Status: status, DurationMS: float64(took.Microseconds()) / 1000}
	tone, what := "dim", fmt.Sprint(status)
	if status >= 400 {
		tone = "warn"
	}
	if err != nil {
		c.Error = err.Error()
		tone, what = "bad", err.Error()
	}
	p.calls = append(p.calls, c)
	p.line(tone, "%s %s  %s  %s", method, endpoint, what, took.Round(time.Millisecond))
}

func (p *dryPrinter) total(model string) *dryTotal {
	t := p.totals[model]
	if t == nil {
		t = &dryTotal{}
		p.totals[model] = t
		p.order = append(p.order, model)
	}
	return t
}

// shownChanges is how many changed fields of a record are shown on its line.
const shownChanges = 3

// record shows one record beside what the cache holds of it (nil: nothing).
func (p *dryPrinter) record(method, model, id string, before, after json.RawMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.total(model)
	t.Records = append(t.Records, after)
	text := shorten(string(after), 160)
	if p.verbose {
		text = string(after)
	}
	switch {
	case method == fn.MethodBatchDelete && before == nil:
		t.Unknown++
		p.line("dim", "? %s %s is not in the cache", model, id)
	case method == fn.MethodBatchDelete:
		t.Deleted++
		p.line("bad", "- %s %s", model, id)
	case before == nil && method == fn.MethodBatchUpdate:
		t.Unknown++
		p.line("warn", "? %s %s is not in the cache: an update of it is not applied", model, id)
	case before == nil:
		t.Added++
		p.line("good", "+ %s %s  %s", model, id, text)
	default:
		differences, err := fixture.Compare(before, after)
		switch {
		case err != nil:
			p.line("warn", "~ %s %s  %s", model, id, text)
			t.Updated++
		case len(differences) == 0:
			t.Unchanged++
			if p.verbose {
				p.line("dim", "= %s %s", model, id)
			}
		default:
			t.Updated++
			p.line("warn", "~ %s %s  %s", model, id, changesOf(differences))
		}
	}
}

// changesOf is what changed, on one line.
func changesOf(differences []fixture.Difference) string {
	var parts []string
	for i, d := range differences {
		if i == shownChanges {
			parts = append(parts, fmt.Sprintf("and %d more", len(differences)-i))
			break
		}
		before, after := "nothing", "nothing"
		if d.Expected != nil {
			before = shorten(string(d.Expected), 40)
		}
		if d.Found != nil {
			after = shorten(string(d.Found), 40)
		}
		parts = append(parts, d.Path+": "+before+" → "+after)
	}
	return strings.Join(parts, "; ")
}

// note shows something else that the function asked for.
func (p *dryPrinter) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line("dim", format, args...)
}

func (p *dryPrinter) checkpoint(raw json.RawMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saved = raw
	p.line("dim", "checkpoint %s", shorten(string(raw), 160))
}

// deletes notes what the end of tracking would delete.
func (p *dryPrinter) deletes(model string, ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total(model).Deleted += len(ids)
	for i, id := range ids {
		if i == 20 && !p.verbose {
			p.line("bad", "- and %d more of %s", len(ids)-i, model)
			return
		}
		p.line("bad", "- %s %s was not seen", model, id)
	}
}

// end shows what the run came to.
func (p *dryPrinter) end(call *fn.Call, output json.RawMessage, ended error, took time.Duration, memory int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet {
		if p.calls == nil {
			p.calls = []dryCall{}
		}
		if p.logs == nil {
			p.logs = []syncline.LogLine{}
		}
		out := struct {
			Output      json.RawMessage      `json:"output,omitempty"`
			Error       string               `json:"error,omitempty"`
			Models      map[string]*dryTotal `json:"models"`
			Checkpoint  json.RawMessage      `json:"checkpoint,omitempty"`
			Requests    []dryCall            `json:"requests"`
			Logs        []syncline.LogLine   `json:"logs"`
			DurationMS  int64                `json:"duration_ms"`
			MemoryBytes int64                `json:"memory_bytes,omitempty"`
		}{Models: p.totals, Checkpoint: p.saved, Requests: p.calls, Logs: p.logs, DurationMS: took.Milliseconds(), MemoryBytes: memory}
		if call.Context.FunctionType != syncline.FunctionSync {
			out.Output = output
		}
		if ended != nil {
			out.Error = describeError(ended)
		}
		return printJSON(p.Out, out)
	}
	if ended == nil && call.Context.FunctionType != syncline.FunctionSync {
		if indented, err := json.MarshalIndent(output, "", "  "); err == nil {
			for i, l := range strings.Split(string(indented), "\n") {
				if i == 0 {
					l = "output " + l
				}
				p.line("", "%s", l)
			}
		}
	}
	for _, model := range p.order {
		t := p.totals[model]
		var parts []string
		for _, part := range []struct {
			n    int
			what string
		}{{t.Added, "added"}, {t.Updated, "updated"}, {t.Deleted, "deleted"}, {t.Unchanged, "unchanged"}, {t.Unknown, "not in the cache"}} {
			if part.n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
			}
		}
		if len(parts) == 0 {
			parts = []string{"nothing"}
		}
		p.line("", "%s: %s", model, strings.Join(parts, ", "))
	}
	what := "Done"
	tone := "good"
	if ended != nil {
		for i, l := range strings.Split(describeError(ended), "\n") {
			if i == 0 {
				l = "Error: " + l
			}
			p.line("bad", "%s", l)
		}
		what, tone = "Failed", "bad"
	}
	text := fmt.Sprintf("%s in %s, %s", what, took.Round(time.Millisecond), plural(len(p.calls), "request"))
	if memory > 0 {
		text += fmt.Sprintf(", %d MB of memory", memory>>20)
	}
	p.line(tone, "%s; nothing was written to the cache", text)
	return nil
}
