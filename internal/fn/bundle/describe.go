package bundle

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/quickjs"
)

//go:embed describe.js
var describeJS string

// entryDescribe is a bundle whose exec returns what the function says of
// itself. It has zod's toJSONSchema in it; what is deployed does not.
func entryDescribe(file string) string {
	return "import * as definition from " + strconv.Quote("./"+file) + ";\nimport * as zod from \"zod\";\n" + describeJS
}

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
	Reconcile            string                     `json:"reconcile"`
	RewindContested      bool                       `json:"rewindContested"`
	History              map[string]string          `json:"history"`
	IgnoredFields        map[string][]string        `json:"ignoredFields"`
	Problems             []struct{ Field, Name, Message, Hint string }
}

// describeAll evaluates every function, two at a time.
func describeAll(ctx context.Context, all []found, probes map[string][]byte) ([]*description, Problems) {
	engine := quickjs.New(quickjs.Options{})
	defer engine.Close()
	out := make([]*description, len(all))
	failed := make([]*Problem, len(all))
	var workers sync.WaitGroup
	next := make(chan int)
	for range 2 {
		workers.Go(func() {
			for i := range next {
				d, err := describe(ctx, engine, probes[all[i].file])
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

func describe(ctx context.Context, engine *quickjs.Engine, probe []byte) (*description, error) {
	text, err := engine.Run(ctx, fn.Call{
		Entry:  fn.EntryExec,
		Bundle: func(context.Context) ([]byte, error) { return probe, nil },
		// Each probe is its own bundle; the hash only has to tell them apart.
		BundleHash: string(probe),
		Limits:     fn.Limits{Wall: time.Minute, CPU: 10 * time.Second},
	}, noHost{})
	if err != nil {
		return nil, err
	}
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
