package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/dispatch"
	"syncline/internal/fn"
	"syncline/internal/store"
)

// acting is a world with actions and on-event functions.
type acting struct {
	*world
	actions *dispatch.Actions

	mu       sync.Mutex
	handlers map[string]func(ctx context.Context, h fn.Host, call fn.Call) (json.RawMessage, error)
	ended    []syncline.Job // announced
}

// Run calls the handler of the function by its name.
func (a *acting) Run(ctx context.Context, call fn.Call, h fn.Host) (json.RawMessage, error) {
	a.mu.Lock()
	handler := a.handlers[call.Context.Function]
	a.mu.Unlock()
	if handler == nil {
		return a.world.Run(ctx, call, h)
	}
	return handler(ctx, h, call)
}

func (a *acting) AnnounceAction(_ store.Tx, j *syncline.Job, _ time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = append(a.ended, *j)
	return nil
}

func newActing(w *world) *acting {
	a := &acting{world: w, handlers: map[string]func(context.Context, fn.Host, fn.Call) (json.RawMessage, error){}}
	w.polls.Runner = a // the engine's, which all share
	a.actions = a.process("test")
	w.polls.Host.Actions = a.actions
	return a
}

// process is another process on the same store.
func (a *acting) process(owner string) *dispatch.Actions {
	return &dispatch.Actions{
		Engine: a.polls.Engine, Announcer: a, Owner: owner, Wall: time.Minute, EventWall: time.Minute, Lease: time.Minute, Max: 4, PerEnvironment: 2,
	}
}

// function deploys an action, or an on-event function for event.
func (a *acting) function(name, event string, change func(m *syncline.Manifest), handler func(ctx context.Context, h fn.Host, call fn.Call) (json.RawMessage, error)) int64 {
	a.t.Helper()
	m := syncline.Manifest{Type: syncline.FunctionAction, Name: name, Integration: "github", Event: event}
	if event != "" {
		m.Type = syncline.FunctionOnEvent
	}
	if change != nil {
		change(&m)
	}
	f := syncline.Function{EnvironmentID: a.env.ID, IntegrationID: a.integration.ID, Type: m.Type, Name: name, CreatedAt: a.clock.Now()}
	must(a.t, a.store.Update(a.t.Context(), store.Durable, func(tx store.Tx) error {
		return tx.DeployFunction(&f, &syncline.FunctionVersion{BundleHash: "hash", Manifest: m, DeployedAt: a.clock.Now()})
	}))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handlers[name] = handler
	return f.ID
}

func (a *acting) call(function int64, input string) dispatch.ActionCall {
	c := dispatch.ActionCall{EnvironmentID: a.env.ID, ConnectionID: a.instances[0].ConnectionID, FunctionID: function}
	if input != "" {
		c.Input = json.RawMessage(input)
	}
	return c
}

func (a *acting) job(uuid string) syncline.Job {
	a.t.Helper()
	var j syncline.Job
	must(a.t, a.store.View(a.t.Context(), func(r store.Reader) (err error) {
		j, err = r.JobByUUID(a.env.ID, uuid)
		return err
	}))
	return j
}

func (a *acting) runs(kind syncline.RunKind) []syncline.Run {
	a.t.Helper()
	var runs []syncline.Run
	must(a.t, a.store.View(a.t.Context(), func(r store.Reader) (err error) {
		runs, err = r.Runs(a.env.ID, store.RunFilter{Kind: kind})
		return err
	}))
	return runs
}

// serve runs the jobs of a process until the test ends or stop is called.
func (a *acting) serve(p *dispatch.Actions) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(a.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.Run(ctx, ctx); err != nil {
			a.t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	a.t.Cleanup(stop)
	return stop
}

// until moves the clock until ok.
func (a *acting) until(what string, ok func() bool) {
	a.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			a.t.Fatalf("it did not come to this: %s", what)
		}
		a.clock.Advance(500 * time.Millisecond)
		time.Sleep(time.Millisecond)
	}
}

func (a *acting) untilEnded(uuid string) syncline.Job {
	a.t.Helper()
	a.until("the job ends", func() bool { j := a.job(uuid); return j.Ended() })
	return a.job(uuid)
}

func echo(_ context.Context, _ fn.Host, call fn.Call) (json.RawMessage, error) {
	return json.RawMessage(`{"got":` + string(call.Input) + `}`), nil
}

func failureIn(t *testing.T, err error) *syncline.Failure {
	t.Helper()
	var f *syncline.Failure
	if !errors.As(err, &f) {
		t.Fatalf("the error is %v, no failure", err)
	}
	return f
}

func onEachStoreActing(t *testing.T, test func(t *testing.T, a *acting)) {
	t.Helper()
	onEachStore(t, func(t *testing.T, w *world) { test(t, newActing(w)) })
}

func TestAnActionReturnsItsOutputAndItsRunIsStored(t *testing.T) {
	t.Parallel()
	onEachStoreActing(t, func(t *testing.T, a *acting) {
		id := a.function("greet", "", nil, func(ctx context.Context, h fn.Host, call fn.Call) (json.RawMessage, error) {
			h.Log(syncline.LogLine{Level: syncline.LogInfo, Message: "hello"})
			for _, c := range []string{`{"checkpoint":{"n":1}}`, `{"checkpoint":{"n":2}}`} {
				if _, err := h.Call(ctx, fn.MethodSaveCheckpoint, json.RawMessage(c)); err != nil {
					return nil, err
				}
			}
			if _, err := h.Call(ctx, fn.MethodUpdateMetadata, json.RawMessage(`{"metadata":{"by":"greet"}}`)); err != nil {
				return nil, err
			}
			c, err := h.Call(ctx, fn.MethodGetCheckpoint, nil)
			return json.RawMessage(`{"input":` + string(call.Input) + `,"checkpoint":` + string(c) + `}`), err
		})
		out, uuid, err := a.actions.Trigger(t.Context(), a.call(id, `{"name":"ü"}`))
		if err != nil || string(out) != `{"input":{"name":"ü"},"checkpoint":{"n":2}}` {
			t.Fatalf("%s, %v", out, err)
		}
		must(t, a.store.View(t.Context(), func(r store.Reader) error {
			run, err := r.RunByUUID(a.env.ID, uuid)
			if run.Kind != syncline.RunAction || run.Status != syncline.RunSuccess || run.FunctionID != id || run.ConnectionID != a.instances[0].ConnectionID || run.FinishedAt.IsZero() {
				t.Errorf("the run is %+v, %v", run, err)
			}
			logs, err := r.Logs(a.env.ID, run.ID, 0, 0)
			if len(logs) != 1 || logs[0].Message != "hello" {
				t.Errorf("the log has %v", logs)
			}
			c, _ := r.Connection(a.env.ID, run.ConnectionID)
			if c.Metadata["by"] != "greet" {
				t.Errorf("the metadata is %v", c.Metadata)
			}
			if lost, _ := r.LostJobs(a.clock.Now().Add(time.Hour), 0); len(lost) != 0 {
				t.Errorf("jobs are left: %v", lost)
			}
			return err
		}))
	})
}

func TestFailuresOfActionsAreToldApart(t *testing.T) {
	t.Parallel()
	a := newActing(newWorld(t, 1))
	object := json.RawMessage(`{"type":"object","properties":{"n":{"type":"number"}},"required":["n"]}`)
	strict := func(m *syncline.Manifest) {
		m.Input, m.Output, m.Validation = object, object, syncline.ValidationStrict
	}
	answer := &syncline.UpstreamAnswer{Status: 404, Headers: map[string]string{"content-type": "application/json"}, Body: json.RawMessage(`{"message":"Not Found"}`)}
	for name, c := range map[string]struct {
		change          func(*syncline.Manifest)
		input           string
		output          string
		err             error
		kind            string
		code            syncline.Code
		payload, within string
	}{
		"an ActionError":                 {err: &fn.ScriptError{Name: "ActionError", Message: "no seats", Payload: json.RawMessage(`{"seats":0}`)}, kind: syncline.FailureAction, code: syncline.CodeScript, payload: `{"seats":0}`, within: "no seats"},
		"an ActionError with text":       {err: &fn.ScriptError{Name: "ActionError", Payload: json.RawMessage(`"full"`)}, kind: syncline.FailureAction, code: syncline.CodeScript, payload: `{"message":"full"}`, within: "ActionError"},
		"an ActionError without payload": {err: &fn.ScriptError{Name: "ActionError"}, kind: syncline.FailureAction, code: syncline.CodeScript, payload: `{}`, within: "ActionError"},
		"an answer of the external API":  {err: &fn.ScriptError{Name: "AxiosError", Message: "failed with 404", HostCode: syncline.CodeUpstream, Status: 404, Upstream: answer}, kind: syncline.FailureUpstream, code: syncline.CodeUpstream, payload: `{"message":"Not Found"}`, within: "404"},
		"no answer":                      {err: &fn.ScriptError{Name: "AxiosError", Message: "connection refused", HostCode: syncline.CodeUpstream}, kind: syncline.FailureNetwork, code: syncline.CodeUpstream, within: "refused"},
		"anything else":                  {err: &fn.ScriptError{Name: "TypeError", Message: "x is not a function", Stack: "at a\nat b"}, kind: syncline.FailureScript, code: syncline.CodeScript, payload: `{"name":"TypeError","message":"x is not a function","stacktrace":["at a","at b"]}`, within: "TypeError"},
		"a limit":                        {err: syncline.Errorf(syncline.CodeLimit, "the run took longer than 1s"), kind: syncline.FailureLimit, code: syncline.CodeLimit, within: "longer than 1s"},
		"a worker that died":             {err: syncline.Errorf(syncline.CodeWorkerLost, "the worker died"), kind: syncline.FailureUnknown, code: syncline.CodeWorkerLost, within: "outcome unknown"},
		"an input that is not allowed":   {change: strict, input: `{"n":"x"}`, output: `{"n":1}`, kind: syncline.FailureInput, code: syncline.CodeInvalid, within: "input"},
		"an input that is missing":       {change: strict, output: `{"n":1}`, kind: syncline.FailureInput, code: syncline.CodeInvalid, within: "input"},
		"an output that is not allowed":  {change: strict, input: `{"n":1}`, output: `{"m":1}`, kind: syncline.FailureOutput, code: syncline.CodeInvalid, within: "output"},
	} {
		t.Run(name, func(t *testing.T) {
			id := a.function(strings.ReplaceAll(name, " ", "-"), "", c.change, func(context.Context, fn.Host, fn.Call) (json.RawMessage, error) {
				return json.RawMessage(c.output), c.err
			})
			_, uuid, err := a.actions.Trigger(t.Context(), a.call(id, c.input))
			f := failureIn(t, err)
			if f.Type != c.kind || f.Code != c.code || !strings.Contains(f.Message, c.within) || c.payload != "" && string(f.Payload) != c.payload {
				t.Errorf("the failure is %+v, payload %s", f, f.Payload)
			}
			if uuid == "" {
				if c.kind != syncline.FailureInput {
					t.Error("there is no run")
				}
				return
			}
			if run := a.runs(syncline.RunAction)[0]; run.UUID != uuid || run.Status != syncline.RunFailed || run.ErrorCode != c.code || run.Error != f.Message {
				t.Errorf("the run is %+v", run)
			}
		})
	}
}

func TestByDefaultWhatTheSchemaDoesNotAllowIsAWarning(t *testing.T) {
	t.Parallel()
	a := newActing(newWorld(t, 1))
	id := a.function("loose", "", func(m *syncline.Manifest) { m.Input = json.RawMessage(`{"type":"object","required":["n"]}`) }, echo)
	if out, _, err := a.actions.Trigger(t.Context(), a.call(id, `{}`)); err != nil || string(out) != `{"got":{}}` {
		t.Fatalf("%s, %v", out, err)
	}
	if run := a.runs(syncline.RunAction)[0]; len(run.Warnings) != 1 || !strings.Contains(run.Warnings[0], "input") {
		t.Errorf("the warnings are %v", run.Warnings)
	}
	empty := a.function("empty", "", func(m *syncline.Manifest) { m.Input = json.RawMessage(`{"type":"object"}`) }, echo)
	if out, _, _ := a.actions.Trigger(t.Context(), a.call(empty, "")); string(out) != `{"got":{}}` {
		t.Errorf("without an input it got %s", out)
	}
}

func TestAnActionFinishesWhenItsCallerGoesAway(t *testing.T) {
	t.Parallel()
	a := newActing(newWorld(t, 1))
	ctx, cancel := context.WithCancel(t.Context())
	id := a.function("slow", "", nil, func(ctx context.Context, h fn.Host, _ fn.Call) (json.RawMessage, error) {
		cancel()
		_, err := h.Call(ctx, fn.MethodSetMetadata, json.RawMessage(`{"metadata":{"done":true}}`))
		return json.RawMessage(`1`), err
	})
	if _, _, err := a.actions.Trigger(ctx, a.call(id, "")); err != nil {
		t.Fatal(err)
	}
	if run := a.runs(syncline.RunAction)[0]; run.Status != syncline.RunSuccess {
		t.Errorf("the run is %s: %s", run.Status, run.Error)
	}
}

func TestAStopWaitsForActionsAndThenCutsThem(t *testing.T) {
	t.Parallel()
	a := newActing(newWorld(t, 1))
	ctx, stop := context.WithCancel(t.Context())
	work, cut := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan error, 1)
	id := a.function("slow", "", nil, func(ctx context.Context, _ fn.Host, _ fn.Call) (json.RawMessage, error) {
		close(begun)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	go func() {
		_, _, err := a.actions.Trigger(t.Context(), a.call(id, ""))
		ended <- err
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- a.actions.Run(ctx, work) }()
	stop()
	select {
	case <-stopped:
		t.Fatal("it did not wait")
	case <-ended:
		t.Fatal("the action was cut at once")
	case <-time.After(50 * time.Millisecond):
	}
	cut()
	if f := failureIn(t, <-ended); f.Type != syncline.FailureUnknown {
		t.Errorf("the caller was told %+v", f)
	}
	must(t, <-stopped)
	if run := a.runs(syncline.RunAction)[0]; run.Status != syncline.RunCanceled || !strings.Contains(run.Error, "outcome unknown") {
		t.Errorf("the run is %s: %s", run.Status, run.Error)
	}
}

func TestAnAsynchronousActionThatIsCutByAStopHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	a := newActing(newWorld(t, 1))
	begun := make(chan struct{})
	id := a.function("slow", "", nil, func(ctx context.Context, _ fn.Host, _ fn.Call) (json.RawMessage, error) {
		close(begun)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	j, err := a.actions.Enqueue(t.Context(), a.call(id, ""), 0)
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	work, cut := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- a.actions.Run(ctx, work) }()
	<-begun
	stop()
	cut()
	must(t, <-stopped)
	var f syncline.Failure
	must(t, json.Unmarshal(a.job(j.UUID).Result, &f))
	if f.Type != syncline.FailureUnknown || !strings.Contains(f.Message, "server was stopped") {
		t.Errorf("the failure is %+v", f)
	}
	if run := a.runs(syncline.RunAction)[0]; run.Status != syncline.RunCanceled {
		t.Errorf("the run is %s: %s", run.Status, run.Error)
	}
}

func TestAnAsynchronousActionIsRetriedAndItsEndIsTold(t *testing.T) {
	t.Parallel()
	onEachStoreActing(t, func(t *testing.T, a *acting) {
		tries := 0
		id := a.function("flaky", "", nil, func(ctx context.Context, h fn.Host, call fn.Call) (json.RawMessage, error) {
			if tries++; tries < 3 {
				return nil, &fn.ScriptError{Message: fmt.Sprint("try ", tries)}
			}
			return echo(ctx, h, call)
		})
		j, err := a.actions.Enqueue(t.Context(), a.call(id, `{"n":1}`), 2)
		must(t, err)
		if stored := a.job(j.UUID); stored.Status != syncline.JobPending || string(stored.Input) != `{"n":1}` || stored.MaxRetries != 2 {
			t.Errorf("stored %+v", stored)
		}
		a.serve(a.actions)
		if got := a.untilEnded(j.UUID); got.Status != syncline.JobDone || string(got.Result) != `{"got":{"n":1}}` || got.Attempts != 3 {
			t.Errorf("the job is %+v", got)
		}
		var statuses []string
		for _, r := range a.runs(syncline.RunAction) {
			statuses = append(statuses, fmt.Sprint(r.Attempt, " ", r.Status))
		}
		if want := []string{"3 success", "2 retrying", "1 retrying"}; !slices.Equal(statuses, want) {
			t.Errorf("the runs are %v", statuses)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.ended) != 1 || a.ended[0].UUID != j.UUID || a.ended[0].ConnectionKey != "c0" || a.ended[0].IntegrationKey != "github" {
			t.Errorf("the app was told %+v", a.ended)
		}
	})
}

func TestAnAsynchronousActionThatFailsIsNotRetriedUnlessAsked(t *testing.T) {
	t.Parallel()
	a := newActing(newWorld(t, 1))
	id := a.function("broken", "", nil, func(context.Context, fn.Host, fn.Call) (json.RawMessage, error) {
		return nil, &fn.ScriptError{Name: "ActionError", Payload: json.RawMessage(`{"why":"so"}`)}
	})
	gone := a.function("gone", "", nil, echo)
	off := a.function("off", "", nil, echo)
	var jobs []*syncline.Job
	for _, f := range []int64{id, gone, off} {
		j, err := a.actions.Enqueue(t.Context(), a.call(f, ""), 0)
		must(t, err)
		jobs = append(jobs, j)
	}
	must(t, a.store.Update(t.Context(), store.Durable, func(tx store.Tx) error {
		if err := tx.SetFunctionEnabled(a.env.ID, off, false); err != nil {
			return err
		}
		return tx.DeleteFunction(a.env.ID, gone, a.clock.Now())
	}))
	a.serve(a.actions)
	for i, want := range []string{syncline.FailureAction, syncline.FailureNotFound, syncline.FailureDisabled} {
		j := a.untilEnded(jobs[i].UUID)
		var f syncline.Failure
		must(t, json.Unmarshal(j.Result, &f))
		if j.Status != syncline.JobFailed || f.Type != want {
			t.Errorf("job %d is %s with %+v", i, j.Status, f)
		}
	}
	if n := len(a.runs(syncline.RunAction)); n != 1 {
		t.Errorf("%d runs", n)
	}
}

func TestAnActionWhoseProcessDiedHasAnUnknownOutcomeAndRunsAgainOnlyWhenAllowed(t *testing.T) {
	t.Parallel()
	onEachStoreActing(t, func(t *testing.T, a *acting) {
		hang := make(chan struct{})
		started := make(chan struct{}, 8)
		id := a.function("hang", "", nil, func(context.Context, fn.Host, fn.Call) (json.RawMessage, error) {
			started <- struct{}{}
			<-hang
			return json.RawMessage(`"late"`), nil
		})
		once, err := a.actions.Enqueue(t.Context(), a.call(id, ""), 0)
		must(t, err)
		retried, err := a.actions.Enqueue(t.Context(), a.call(id, ""), 1)
		must(t, err)
		stop := a.serve(a.actions)
		attended := make(chan error, 1)
		go func() {
			_, _, err := a.actions.Trigger(t.Context(), a.call(id, ""))
			attended <- err
		}()
		for range 3 {
			<-started
		}
		other := a.process("other")
		if n, err := other.Reap(t.Context()); err != nil || n != 0 {
			t.Fatalf("%d runs of a living process were reaped, %v", n, err)
		}
		// To the others it has died.
		must(t, a.store.Update(t.Context(), store.Durable, func(tx store.Tx) error { return tx.ReleaseLeases() }))
		if n, err := a.polls.Reap(t.Context()); err != nil || n != 0 {
			t.Errorf("the reaper of polls took %d, %v", n, err)
		}
		if n, err := other.Reap(t.Context()); err != nil || n != 3 {
			t.Fatalf("%d runs were reaped, %v", n, err)
		}
		j := a.job(once.UUID)
		var f syncline.Failure
		must(t, json.Unmarshal(j.Result, &f))
		if j.Status != syncline.JobFailed || f.Type != syncline.FailureUnknown {
			t.Errorf("the one without retries is %s: %+v", j.Status, f)
		}
		if j := a.job(retried.UUID); j.Status != syncline.JobPending || j.Attempts != 1 {
			t.Errorf("the one with a retry is %+v", j)
		}
		for _, r := range a.runs(syncline.RunAction) {
			if r.Status != syncline.RunReaped || !strings.Contains(r.Error, "outcome unknown") {
				t.Errorf("a run is %s: %s", r.Status, r.Error)
			}
		}
		a.mu.Lock()
		a.handlers["hang"] = echo
		a.mu.Unlock()
		a.serve(other)
		if j := a.untilEnded(retried.UUID); j.Status != syncline.JobDone || string(j.Result) != `{"got":null}` || j.Attempts != 2 {
			t.Errorf("the retry came to %+v", j)
		}
		close(hang) // the first process lives after all: it can commit nothing
		must(t, <-attended)
		stop()
		if j := a.job(retried.UUID); string(j.Result) != `{"got":null}` {
			t.Errorf("the result was overwritten: %s", j.Result)
		}
		if j := a.job(once.UUID); j.Status != syncline.JobFailed {
			t.Errorf("the end was overwritten: %s", j.Status)
		}
	})
}

func TestAsynchronousActionsOfOneEnvironmentAreBounded(t *testing.T) {
	t.Parallel()
	onEachStoreActing(t, func(t *testing.T, a *acting) {
		var mu sync.Mutex
		now, most, total := 0, 0, 0
		id := a.function("count", "", nil, func(context.Context, fn.Host, fn.Call) (json.RawMessage, error) {
			mu.Lock()
			now++
			total++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(2 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			return nil, nil
		})
		var last *syncline.Job
		for range 12 {
			var err error
			last, err = a.actions.Enqueue(t.Context(), a.call(id, ""), 0)
			must(t, err)
		}
		a.serve(a.actions)
		a.serve(a.process("other"))
		a.until("all ran", func() bool { mu.Lock(); defer mu.Unlock(); return total == 12 && now == 0 })
		a.untilEnded(last.UUID)
		if most > 2 {
			t.Errorf("%d ran at a time; the limit is 2", most)
		}
	})
}

func TestFunctionsTriggerActions(t *testing.T) {
	t.Parallel()
	onEachStoreActing(t, func(t *testing.T, a *acting) {
		trigger := func(ctx context.Context, h fn.Host, name, input string) (json.RawMessage, error) {
			return h.Call(ctx, fn.MethodTriggerAction, json.RawMessage(`{"provider_config_key":"","connection_id":"","name":"`+name+`","input":`+input+`}`))
		}
		a.function("inner", "", nil, echo)
		a.function("fails", "", nil, func(context.Context, fn.Host, fn.Call) (json.RawMessage, error) {
			return nil, &fn.ScriptError{Name: "AxiosError", Message: "503", HostCode: syncline.CodeUpstream, Status: 503}
		})
		outer := a.function("outer", "", nil, func(ctx context.Context, h fn.Host, _ fn.Call) (json.RawMessage, error) {
			return trigger(ctx, h, "inner", `{"n":1}`)
		})
		out, uuid, err := a.actions.Trigger(t.Context(), a.call(outer, ""))
		if err != nil || string(out) != `{"got":{"n":1}}` {
			t.Fatalf("%s, %v", out, err)
		}
		if inner := a.runs(syncline.RunAction)[0]; inner.Parent != uuid || inner.Status != syncline.RunSuccess {
			t.Errorf("the inner run is %+v", inner)
		}
		var told error
		a.onWebhook = func(ctx context.Context, h fn.Host, _ json.RawMessage) error {
			_, told = trigger(ctx, h, "fails", `{}`)
			_, err := trigger(ctx, h, "nope", `{}`)
			if syncline.CodeOf(err) != syncline.CodeNotFound || !strings.Contains(err.Error(), "nope") {
				t.Errorf("an unknown action: %v", err)
			}
			_, err = trigger(ctx, h, "inner", `{}`)
			return err
		}
		a.deliver(0, `{}`)
		a.start()
		a.settled()
		var host *fn.HostError
		if !errors.As(told, &host) || host.Code != syncline.CodeUpstream {
			t.Errorf("the webhook was told %v", told)
		}
		if run := a.runs(syncline.RunWebhook)[0]; run.Status != syncline.RunSuccess || a.runs(syncline.RunAction)[0].Parent != run.UUID {
			t.Errorf("the webhook's run is %+v", run)
		}
	})
}

func TestActionsThatTriggerThemselvesEnd(t *testing.T) {
	t.Parallel()
	a := newActing(newWorld(t, 1))
	id := a.function("self", "", nil, func(ctx context.Context, h fn.Host, call fn.Call) (json.RawMessage, error) {
		if call.Depth > fn.MaxDepth {
			t.Errorf("depth %d", call.Depth)
		}
		out, err := h.Call(ctx, fn.MethodTriggerAction, json.RawMessage(`{"name":"self"}`))
		if err != nil { // as engines do
			err = &fn.ScriptError{Message: err.Error(), HostCode: syncline.CodeOf(err)}
		}
		return out, err
	})
	_, _, err := a.actions.Trigger(t.Context(), a.call(id, ""))
	if f := failureIn(t, err); !strings.Contains(f.Message, "deep") {
		t.Errorf("the failure is %+v", f)
	}
	if n := len(a.runs(syncline.RunAction)); n != fn.MaxDepth+1 {
		t.Errorf("%d runs", n)
	}
}

func TestActionsHaveNoRecords(t *testing.T) {
	t.Parallel()
	a := newActing(newWorld(t, 1))
	id := a.function("saves", "", nil, func(ctx context.Context, h fn.Host, _ fn.Call) (json.RawMessage, error) {
		return nil, save(ctx, h, `{"id":"1"}`)
	})
	_, _, err := a.actions.Trigger(t.Context(), a.call(id, ""))
	if f := failureIn(t, err); !strings.Contains(f.Message, "only syncs have records") {
		t.Errorf("the failure is %+v", f)
	}
}
