package bundle

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/quickjs"
)

// read.js evaluates one bundle after another, describe.js says what each says
// of itself.
var (
	//go:embed read.js
	readJS string
	//go:embed describe.js
	describeJS string
)

// description is the result of evaluating a function once.
type description struct {
	Type                 syncline.FunctionType      `json:"type"`
	Description          string                     `json:"description"`
	Version              string                     `json:"version"`
	Frequency            string                     `json:"frequency"`
	AutoStart            *bool                      `json:"autoStart"`
	Models               map[string]json.RawMessage `json:"models"`
	Metadata             json.RawMessage            `json:"metadata"`
	Checkpoint           json.RawMessage            `json:"checkpoint"`
	Input                json.RawMessage            `json:"input"`
	Output               json.RawMessage            `json:"output"`
	Event                string                     `json:"event"`
	WebhookSubscriptions []string                   `json:"webhookSubscriptions"`
	HasExec              bool                       `json:"hasExec"`
	HasOnWebhook         bool                       `json:"hasOnWebhook"`
	Scopes               []string                   `json:"scopes"`
	Order                string                     `json:"order"`
	Engine               syncline.Engine            `json:"engine"`
	Reconcile            string                     `json:"reconcile"`
	RewindContested      bool                       `json:"rewindContested"`
	History              map[string]string          `json:"history"`
	IgnoredFields        map[string][]string        `json:"ignoredFields"`
	Validation           string                     `json:"validation"`
	Limits               json.RawMessage            `json:"limits"`
	Problems             []struct{ Field, Name, Message, Hint string }
}

// reader reads what bundles say of themselves. Evaluating the library takes much
// longer than evaluating a bundle, so many are read in one context.
type reader struct {
	engine  *quickjs.Engine
	library *library
	source  []byte
}

// readers is how many bundles are read at a time.
const readers = 2

func newReader(l *library) *reader {
	return &reader{
		engine:  quickjs.New(quickjs.Options{WarmCalls: 60}),
		library: l, source: fn.WithLibrary(strings.Repeat("0", 64), []byte(describeJS+readJS)),
	}
}

func (r *reader) close() { r.engine.Close() }

// readAll reads what every function says of itself, as JSON, some at a time.
func (r *reader) readAll(ctx context.Context, all []found, sources map[string]compiled) ([]json.RawMessage, Problems) {
	out := make([]json.RawMessage, len(all))
	failed := make([]*Problem, len(all))
	var workers sync.WaitGroup
	next := make(chan int)
	for n := range readers {
		workers.Go(func() {
			for i := range next {
				d, err := r.read(ctx, "reader "+strconv.Itoa(n), sources[all[i].file].code)
				if err != nil {
					failed[i] = evaluationProblem(all[i], err)
					continue
				}
				out[i] = d
			}
		})
	}
	for i := range all {
		next <- i
	}
	close(next)
	workers.Wait()
	var problems Problems
	for _, p := range failed {
		if p != nil {
			problems = append(problems, *p)
		}
	}
	return out, problems
}

// read reads one function in the context of a key.
func (r *reader) read(ctx context.Context, key string, source []byte) (json.RawMessage, error) {
	code, _, _ := bytes.Cut(source, []byte("\n//# sourceMappingURL=")) // not for eval
	input, err := json.Marshal(map[string]string{"source": string(code)})
	if err != nil {
		return nil, err
	}
	call := fn.Call{
		Entry: fn.EntryExec, BundleHash: "read", Input: input, WarmKey: key,
		Bundle:  func(context.Context) ([]byte, error) { return r.source, nil },
		Library: func(context.Context, string) ([]byte, error) { return r.library.full, nil },
		Limits:  fn.Limits{Wall: time.Minute, CPU: 10 * time.Second},
	}
	text, err := r.engine.Run(ctx, call, noHost{})
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		// Alone, in a context of its own, it fails with places in its files; and
		// what only another function's leavings broke is read after all.
		return r.readAlone(ctx, call, source, err)
	}
	return text, nil
}

// readAlone reads a function again that could not be read among others, because
// of first.
func (r *reader) readAlone(ctx context.Context, call fn.Call, source []byte, first error) (json.RawMessage, error) {
	probe := call
	probe.WarmKey, probe.BundleHash = "", string(source)
	probe.Bundle = func(context.Context) ([]byte, error) { return source, nil }
	probe.Library = func(context.Context, string) ([]byte, error) { return r.library.source, nil }
	probe.Entry = "nothing" // loading it is all
	if _, err := r.engine.Run(ctx, probe, noHost{}); err != nil && err.Error() != "the function has no nothing" {
		return nil, err
	}
	call.WarmKey = ""
	text, err := r.engine.Run(ctx, call, noHost{})
	if err != nil {
		return nil, first
	}
	return text, nil
}

// describe takes apart what a function says of itself.
func describe(text []byte) (*description, error) {
	var d description
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "what the function says of itself cannot be read: %w", err)
	}
	return &d, nil
}

func evaluationProblem(f found, err error) *Problem {
	p := &Problem{Place: Place{File: f.file}, Message: "evaluating the file failed: " + err.Error()}
	var script *fn.ScriptError
	if errors.As(err, &script) {
		if at, ok := firstFrame(script.Stack); ok {
			p.Place = at
		}
	}
	return p
}

// noHost refuses host calls: a file is only read.
type noHost struct{}

func (noHost) Call(context.Context, string, json.RawMessage) (json.RawMessage, error) {
	return nil, errors.New("host calls are possible only when the function runs")
}

func (noHost) Log(syncline.LogLine) {}
