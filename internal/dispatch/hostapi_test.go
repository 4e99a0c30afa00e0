package dispatch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/store"
)

// ask makes a host call and returns its result as text.
func ask(ctx context.Context, h fn.Host, method, args string) (string, error) {
	out, err := h.Call(ctx, method, json.RawMessage(args))
	return string(out), err
}

// asks makes host calls that must come back as said, in pairs of "method args"
// and result.
func asks(ctx context.Context, h fn.Host, calls ...string) error {
	for i := 0; i < len(calls); i += 2 {
		method, args, _ := strings.Cut(calls[i], " ")
		if args == "" {
			args = "{}"
		}
		got, err := ask(ctx, h, method, args)
		if err != nil || got != calls[i+1] {
			return fmt.Errorf("%s: %s %w, want %s", calls[i], got, err, calls[i+1])
		}
	}
	return nil
}

// remanifest changes the manifest of the sync.
func (w *world) remanifest(change func(m *syncline.Manifest)) {
	w.t.Helper()
	must(w.t, w.store.Update(w.t.Context(), store.Durable, func(tx store.Tx) error {
		f, err := tx.Function(w.env.ID, w.function.ID)
		if err != nil {
			return err
		}
		v := f.Active
		change(&v.Manifest)
		return tx.DeployFunction(&f, &v)
	}))
}

func (w *world) setEnvironment(change func(e *syncline.Environment)) {
	w.t.Helper()
	must(w.t, w.store.Update(w.t.Context(), store.Durable, func(tx store.Tx) error {
		e, err := tx.Environment(w.env.ID)
		if err != nil {
			return err
		}
		change(&e)
		return tx.UpdateEnvironment(&e)
	}))
}

// connect makes another connection of the environment, with its instance.
func (w *world) connect(id string) (c syncline.Connection) {
	w.t.Helper()
	c = syncline.Connection{EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, ConnectionID: id}
	must(w.t, w.store.Update(w.t.Context(), store.Durable, func(tx store.Tx) error {
		if err := tx.CreateConnection(&c); err != nil {
			return err
		}
		i := syncline.SyncInstance{EnvironmentID: w.env.ID, ConnectionID: c.ID, FunctionID: w.function.ID, State: syncline.InstancePaused}
		_, err := tx.EnsureInstance(&i)
		w.instances = append(w.instances, i)
		return err
	}))
	return c
}

const issueSchema = `{"type":"object","properties":{"id":{"type":"string"},"n":{"type":"number"}},"required":["id","n"]}`

func TestRecordsAreCheckedByTheModelsSchema(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.remanifest(func(m *syncline.Manifest) { m.Models["Issue"] = json.RawMessage(issueSchema) })
		saving := func(ctx context.Context, h fn.Host) error {
			if err := save(ctx, h, `{"id":"1","n":1}`, `{"id":"2","n":"x"}`, `{"id":"3"}`); err != nil {
				return err
			}
			return call(ctx, h, fn.MethodBatchUpdate, `{"id":"1"}`)
		}
		w.exec = saving
		w.poll(t.Context(), 0)
		run := w.lastRun(0)
		if run.Status != syncline.RunSuccess || run.Models["Issue"].Invalid != 2 || run.Models["Issue"].Added != 3 || len(w.cache(0)) != 3 {
			t.Errorf("warn: %+v, cache %v", run, w.cache(0))
		}
		want := `batchSave(Issue): not what the schema allows (2 times), and kept as it is; the first: record 1 (id "2"): $.n: expected a number, found the string "x"`
		if len(run.Warnings) != 1 || run.Warnings[0] != want {
			t.Errorf("warnings %q", run.Warnings)
		}

		w.setEnvironment(func(e *syncline.Environment) { e.Run.Validation = syncline.ValidationStrict })
		w.exec = func(ctx context.Context, h fn.Host) error {
			if err := call(ctx, h, fn.MethodBatchUpdate, `{"id":"1","n":5}`); err != nil {
				return err
			}
			return save(ctx, h, `{"id":"9","n":9}`, `{"id":"10"}`)
		}
		w.poll(t.Context(), 0)
		run = w.lastRun(0)
		if run.Status != syncline.RunFailed || !strings.Contains(run.Error, `1 of 2 records are not what the model's schema allows; nothing of the batch was saved: record 1 (id "10"): $.n: expected a number, found nothing`) {
			t.Errorf("strict: %s %s", run.Status, run.Error)
		}
		if cache := w.cache(0); len(cache) != 3 || cache["1"] != `{"id":"1","n":5}` {
			t.Errorf("cache %v", cache)
		}

		// What the function says goes before the environment.
		w.remanifest(func(m *syncline.Manifest) { m.Validation = syncline.ValidationOff })
		w.exec = saving
		w.poll(t.Context(), 0)
		if run = w.lastRun(0); run.Status != syncline.RunSuccess || run.Models["Issue"].Invalid != 0 || len(run.Warnings) != 0 {
			t.Errorf("off: %+v", run)
		}
		// And what is set beside it goes before that.
		must(t, w.store.Update(t.Context(), store.Durable, func(tx store.Tx) error {
			return tx.SetFunctionRun(w.env.ID, w.function.ID, syncline.RunSettings{Validation: syncline.ValidationStrict})
		}))
		w.poll(t.Context(), 0)
		if run = w.lastRun(0); run.Status != syncline.RunFailed {
			t.Errorf("set beside the code: %+v", run)
		}
	})
}

func TestWebhookRunsAreCheckedToo(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.remanifest(func(m *syncline.Manifest) {
			m.Models["Issue"] = json.RawMessage(issueSchema)
			m.Metadata = json.RawMessage(`{"type":"object","properties":{"team":{"type":"string"}},"required":["team"]}`)
			m.Checkpoint = json.RawMessage(`{"type":"object","properties":{"at":{"type":"number"}},"required":["at"]}`)
		})
		w.onWebhook = func(ctx context.Context, h fn.Host, payload json.RawMessage) error {
			if err := save(ctx, h, string(payload)); err != nil {
				return err
			}
			if _, err := ask(ctx, h, fn.MethodSaveCheckpoint, `{"checkpoint":{"at":"now"}}`); err != nil {
				return err
			}
			_, err := ask(ctx, h, fn.MethodUpdateMetadata, `{"metadata":{"team":7}}`)
			return err
		}
		w.start()
		e := w.deliver(0, `{"id":"1"}`)
		w.settled()
		run := w.webhookRun(e)
		if run.Models["Issue"].Invalid != 1 || len(run.Warnings) != 3 || !strings.Contains(strings.Join(run.Warnings, "\n"), "$.team: expected a string, found the number 7") {
			t.Errorf("%+v", run)
		}
		w.setEnvironment(func(e *syncline.Environment) { e.Run.Validation = syncline.ValidationStrict })
		e = w.deliver(0, `{"id":"2","n":2}`)
		w.settled()
		if e := w.event(e.ID); e.Status != syncline.EventDead || !strings.Contains(e.LastError, "saveCheckpoint: the checkpoint is not what its schema allows: $.at") {
			t.Errorf("%+v", e)
		}
	})
}

func (w *world) webhookRun(e syncline.Event) (run syncline.Run) {
	w.t.Helper()
	must(w.t, w.store.View(w.t.Context(), func(r store.Reader) (err error) {
		e, err := r.Event(w.env.ID, e.ID)
		if err == nil {
			run, err = r.Run(w.env.ID, e.RunID)
		}
		return err
	}))
	return run
}

func TestFunctionsSeeTheirSurroundings(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.connect("other")
		must(t, w.store.Update(t.Context(), store.Durable, func(tx store.Tx) error {
			return tx.PutVariable(&syncline.Variable{EnvironmentID: w.env.ID, Name: "KEY", Value: syncline.Sealed{KeyID: "k", Data: []byte("v")}})
		}))
		look := func(ctx context.Context, h fn.Host) error {
			if err := asks(ctx, h,
				"getEnvironmentVariables", `[{"name":"KEY","value":"v"}]`,
				"getWebhookURL", `"https://hooks.example"`,
				`getIntegration {"include":["webhook"]}`, `{"include":["webhook"],"unique_key":"github"}`,
				`setMetadata {"metadata":{"a":1}}`, "",
				"getConnection", `{"id":"c0","key":"github","metadata":{"a":1},"refresh_token":false}`,
				`getConnection {"connection_id":"other","refresh_token":true}`, `{"id":"other","key":"github","metadata":{},"refresh_token":true}`,
				`uncontrolledFetch {"url":"https://a.example","method":"GET"}`, `{"status":200,"statusText":"","headers":null,"body":"https://a.example","encoding":"base64","url":""}`,
			); err != nil {
				return err
			}
			for args, want := range map[string]string{
				`getConnection {"connection_id":"nobody"}`:        `has no connection "nobody"`,
				`getConnection {"provider_config_key":"x"}`:       `no integration "x"`,
				`http {"method":"GET","connectionId":"nobody"}`:   `has no connection "nobody"`,
				`getIntegration {"include":["all"]}`:              `include names "all"`,
				`triggerSync {"name":"nothing"}`:                  `no sync "nothing"`,
				`triggerSync {"name":"issues","sync_mode":"new"}`: `mode "new"`,
				`triggerSync {"name":"issues","variant":"v"}`:     `variant "v"`,
				`startSync {"syncs":[]}`:                          `no sync is named`,
				`tryAcquireLock {"key":"","ttl_ms":10}`:           `key is empty`,
				`tryAcquireLock {"key":"k","ttl_ms":0}`:           `ttlMs is 0`,
			} {
				method, args, _ := strings.Cut(args, " ")
				if out, err := ask(ctx, h, method, args); err == nil || !strings.Contains(err.Error(), want) {
					return fmt.Errorf("%s %s: %s %w, want %s", method, args, out, err, want)
				}
			}
			return nil
		}
		w.exec = look
		w.poll(t.Context(), 0)
		if run := w.lastRun(0); run.Status != syncline.RunSuccess {
			t.Error(run.Error)
		}
		w.onWebhook = func(ctx context.Context, h fn.Host, _ json.RawMessage) error { return look(ctx, h) }
		w.start()
		e := w.deliver(0, `{}`)
		w.settled()
		if e := w.event(e.ID); e.Status != syncline.EventDone {
			t.Error(e.LastError)
		}
	})
}

func TestRequestsGoToAnotherConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.connect("other")
	var asked []string
	w.upstreamOf = func(c *syncline.Connection) { asked = append(asked, c.ConnectionID) }
	w.exec = func(ctx context.Context, h fn.Host) error {
		for _, args := range []string{`{"method":"GET","connectionId":"other"}`, `{"method":"GET","providerConfigKey":"github"}`} {
			if _, err := ask(ctx, h, fn.MethodHTTP, args); err != nil {
				return err
			}
		}
		return nil
	}
	w.poll(t.Context(), 0)
	if run := w.lastRun(0); run.Status != syncline.RunSuccess || !slices.Equal(asked, []string{"other", "c0"}) {
		t.Errorf("%s %v", run.Error, asked)
	}
}

func TestTriggersOfAWebhookRunComeWithItsCommit(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.connect("other")
		w.onWebhook = func(ctx context.Context, h fn.Host, payload json.RawMessage) error {
			err := asks(ctx, h,
				`triggerSync {"connection_id":"other","name":"issues","sync_mode":"full_refresh"}`, "",
				`startSync {"connection_id":"other","syncs":[{"name":"issues"}]}`, "")
			if err == nil && w.instance(1).TriggerPending {
				err = fmt.Errorf("triggered before the commit")
			}
			if err == nil && string(payload) == `"fail"` {
				err = fmt.Errorf("failed")
			}
			return err
		}
		w.start()
		w.deliver(0, `"fail"`)
		w.settled()
		if i := w.instance(1); i.TriggerPending || i.State != syncline.InstancePaused {
			t.Errorf("a run that failed triggered: %+v", i)
		}
		epoch := w.instance(1).Epoch
		e := w.deliver(0, `{}`)
		w.settled()
		if i := w.instance(1); w.event(e.ID).Status != syncline.EventDone || !i.TriggerPending || i.State != syncline.InstanceStarted || i.Epoch != epoch+1 {
			t.Errorf("%s: %+v", w.event(e.ID).LastError, i)
		}
	})
}

func TestLocks(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.connect("other")
		lock := `tryAcquireLock {"key":"k","ttl_ms":60000}`
		try := func(want string) func(context.Context, fn.Host) error {
			return func(ctx context.Context, h fn.Host) error { return asks(ctx, h, lock, want) }
		}
		ran := func(what string, n int, exec func(context.Context, fn.Host) error) {
			t.Helper()
			w.mu.Lock()
			w.exec = exec
			w.mu.Unlock()
			w.poll(t.Context(), n)
			if run := w.lastRun(n); run.Status != syncline.RunSuccess {
				t.Errorf("%s: %s", what, run.Error)
			}
		}
		ran("while another run has it", 0, func(ctx context.Context, h fn.Host) error {
			if err := asks(ctx, h, lock, "true", lock, "true"); err != nil {
				return err
			}
			inner, done := make(chan error, 1), make(chan struct{})
			go func() {
				defer close(done)
				w.mu.Lock()
				w.exec = func(ctx context.Context, h fn.Host) error {
					err := asks(ctx, h, lock, "false", `releaseLock {"key":"k"}`, "false", `tryAcquireLock {"key":"mine","ttl_ms":1}`, "true")
					inner <- err
					return err
				}
				w.mu.Unlock()
				w.poll(t.Context(), 1)
			}()
			<-done
			return <-inner
		})
		ran("after the end of the run that had it", 1, try("true"))
		ran("freed by hand", 0, func(ctx context.Context, h fn.Host) error {
			return asks(ctx, h, lock, "true", `releaseLock {"key":"k"}`, "true", `releaseLock {"key":"k"}`, "false", lock, "true", "releaseAllLocks", "", `releaseLock {"key":"k"}`, "false")
		})
		w.exec = func(ctx context.Context, h fn.Host) error {
			if err := try("true")(ctx, h); err != nil {
				return err
			}
			return fmt.Errorf("thrown")
		}
		w.poll(t.Context(), 0)
		ran("after a run that threw", 1, try("true"))

		// A run whose process died: its lease is another's.
		must(t, w.store.Update(t.Context(), store.Durable, func(tx store.Tx) error {
			l := syncline.Lock{
				EnvironmentID: w.env.ID, Key: "k", Owner: "dead", Until: w.clock.Now().Add(time.Hour), Kind: syncline.RunPoll,
				InstanceID: w.instances[0].ID, LeaseEpoch: w.instance(0).PollLease.Epoch,
			}
			_, err := tx.AcquireLock(&l, w.clock.Now())
			return err
		}))
		ran("of a run that is gone", 1, try("true"))

		w.onWebhook = func(ctx context.Context, h fn.Host, _ json.RawMessage) error { return try("true")(ctx, h) }
		w.start()
		a, b := w.deliver(0, `{}`), w.deliver(0, `{}`)
		w.settled()
		for _, e := range []syncline.Event{a, b} {
			if e := w.event(e.ID); e.Status != syncline.EventDone {
				t.Errorf("of a webhook run: %s", e.LastError)
			}
		}
	})
}

func TestListRecords(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		list := func(ctx context.Context, h fn.Host) (ids []string, pages int, err error) {
			cursor := ""
			for {
				out, err := ask(ctx, h, fn.MethodListRecords, fmt.Sprintf(`{"model":"Issue","cursor":%q}`, cursor))
				if err != nil {
					return nil, 0, err
				}
				var page struct {
					Records []struct {
						ID   string                  `json:"id"`
						V    string                  `json:"v"`
						Meta struct{ Cursor string } `json:"_nango_metadata"`
					} `json:"records"`
					NextCursor *string `json:"next_cursor"`
				}
				if err := json.Unmarshal([]byte(out), &page); err != nil {
					return nil, 0, fmt.Errorf("%s: %w", out, err)
				}
				for _, r := range page.Records {
					ids = append(ids, r.ID+r.V)
				}
				pages++
				if page.NextCursor == nil {
					return ids, pages, nil
				}
				cursor = *page.NextCursor
			}
		}
		w.exec = func(ctx context.Context, h fn.Host) error {
			if ids, _, err := list(ctx, h); err != nil || len(ids) != 0 {
				return fmt.Errorf("an empty cache: %v %w", ids, err)
			}
			many := make([]string, 1200)
			for i := range many {
				many[i] = fmt.Sprintf(`{"id":"%04d"}`, i)
			}
			if err := save(ctx, h, many...); err != nil {
				return err
			}
			if err := call(ctx, h, fn.MethodBatchDelete, `{"id":"0007"}`); err != nil {
				return err
			}
			ids, pages, err := list(ctx, h)
			if err != nil || len(ids) != 1199 || pages != 3 || ids[0] != "0000" || slices.Contains(ids, "0007") {
				return fmt.Errorf("%d records in %d pages: %w", len(ids), pages, err)
			}
			return nil
		}
		w.poll(t.Context(), 0)
		if run := w.lastRun(0); run.Status != syncline.RunSuccess {
			t.Fatal(run.Error)
		}
		w.onWebhook = func(ctx context.Context, h fn.Host, _ json.RawMessage) error {
			if err := save(ctx, h, `{"id":"new","v":"!"}`, `{"id":"0003","v":"changed"}`, `{"id":"0007","v":"back"}`); err != nil {
				return err
			}
			if err := call(ctx, h, fn.MethodBatchDelete, `{"id":"0005"}`); err != nil {
				return err
			}
			ids, _, err := list(ctx, h)
			if err != nil || len(ids) != 1200 || !slices.Contains(ids, "0003changed") || !slices.Contains(ids, "new!") || !slices.Contains(ids, "0007back") || slices.Contains(ids, "0005") {
				return fmt.Errorf("%d records: %w", len(ids), err)
			}
			return nil
		}
		w.start()
		e := w.deliver(0, `{}`)
		w.settled()
		if e := w.event(e.ID); e.Status != syncline.EventDone {
			t.Error(e.LastError)
		}
	})
}

func TestDeleteRecordsFromPreviousExecutions(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.remanifest(func(m *syncline.Manifest) {})
		must(t, w.store.Update(t.Context(), store.Durable, func(tx store.Tx) error {
			if err := tx.PutBundle(w.env.ID, "previous", []byte("nango.deleteRecordsFromPreviousExecutions('Issue')")); err != nil {
				return err
			}
			f, err := tx.Function(w.env.ID, w.function.ID)
			if err != nil {
				return err
			}
			v := f.Active
			v.BundleHash = "previous"
			return tx.DeployFunction(&f, &v)
		}))
		saw := func(want string, records ...string) func(context.Context, fn.Host) error {
			return func(ctx context.Context, h fn.Host) error {
				if err := save(ctx, h, records...); err != nil {
					return err
				}
				return asks(ctx, h, `deleteRecordsFromPreviousExecutions {"model":"Issue"}`, want)
			}
		}
		for _, step := range []struct {
			exec func(context.Context, fn.Host) error
			left int
			ok   bool
		}{
			{saw(`{"deletedKeys":[]}`, `{"id":"1"}`, `{"id":"2"}`, `{"id":"3"}`), 3, true},
			{saw(`{"deletedKeys":["3"]}`, `{"id":"1"}`, `{"id":"2","v":2}`), 2, true}, // one unchanged, one changed
			{func(ctx context.Context, h fn.Host) error {
				if err := saw(`{"deletedKeys":["2"]}`, `{"id":"1"}`)(ctx, h); err != nil {
					return err
				}
				return fmt.Errorf("thrown")
			}, 2, false},
			{saw(`{"deletedKeys":["2"]}`, `{"id":"1"}`), 1, true},
		} {
			w.exec = step.exec
			w.poll(t.Context(), 0)
			if run := w.lastRun(0); (run.Status == syncline.RunSuccess) != step.ok || len(w.cache(0)) != step.left {
				t.Fatalf("%s %s, cache %v", run.Status, run.Error, w.cache(0))
			}
		}
	})
}

// cut is how an engine ends a run at a limit.
func cut(limit string) error {
	return syncline.Errorf(syncline.CodeLimit, "the run was cut").WithField(limit)
}

func TestAPollThatIsCutGoesOnAtOnce(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		page := 0
		limits := []string{fn.LimitWall, fn.LimitCPU, fn.LimitHostCalls}
		w.exec = func(ctx context.Context, h fn.Host) error {
			if _, err := ask(ctx, h, fn.MethodTrackDeletesStart, `{"model":"Issue"}`); err != nil {
				return err
			}
			if err := save(ctx, h, fmt.Sprintf(`{"id":"%d"}`, page)); err != nil {
				return err
			}
			if _, err := ask(ctx, h, fn.MethodSaveCheckpoint, fmt.Sprintf(`{"checkpoint":{"page":%d}}`, page)); err != nil {
				return err
			}
			page++
			if page%4 != 0 {
				return cut(limits[page%4-1])
			}
			if _, err := ask(ctx, h, fn.MethodTrackDeletesEnd, `{"model":"Issue"}`); err != nil {
				return err
			}
			_, err := ask(ctx, h, fn.MethodClearCheckpoint, `{}`)
			return err
		}
		round := func() (first syncline.Run) {
			for n := range 4 {
				w.poll(t.Context(), 0)
				run, i := w.lastRun(0), w.instance(0)
				if n == 0 {
					first = run
				}
				if run.Lineage != first.ID {
					t.Errorf("run %d is of the lineage %d, not %d", n, run.Lineage, first.ID)
				}
				if n < 3 && (run.Status != syncline.RunContinued || !i.TriggerPending || i.PollFailures != 0 || i.Progress.Continued != n+1) {
					t.Errorf("run %d is %s: %+v", n, run.Status, i)
				}
				if n == 3 && (run.Status != syncline.RunSuccess || i.TriggerPending || i.Progress != (syncline.Progress{}) || !i.LastSyncDate.Equal(first.StartedAt)) {
					t.Errorf("the last run is %s: %+v", run.Status, i)
				}
				w.clock.Advance(time.Minute)
			}
			return first
		}
		round()
		if len(w.cache(0)) != 4 {
			t.Errorf("cache %v", w.cache(0))
		}
		page = 0
		round() // everything was seen, over four runs
		if len(w.cache(0)) != 4 {
			t.Errorf("deleted what an earlier run of the chain saw: %v", w.cache(0))
		}
		for _, told := range w.told {
			if told.status == syncline.RunFailed {
				t.Error("a poll that was continued was announced as a failure")
			}
		}
	})
}

func TestAPollThatDoesNotGetOnIsAStall(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		at := 0
		var failure error
		w.exec = func(ctx context.Context, h fn.Host) error {
			if _, err := ask(ctx, h, fn.MethodSaveCheckpoint, fmt.Sprintf(`{"checkpoint":{"at":%d}}`, at)); err != nil {
				return err
			}
			return failure
		}
		failure = cut(fn.LimitWall)
		must(t, w.ctl.Start(t.Context(), w.env.ID, w.instances[0].ID))
		step := func(what string, status syncline.RunStatus, stalled bool, wait time.Duration) {
			t.Helper()
			w.poll(t.Context(), 0)
			run, i := w.lastRun(0), w.instance(0)
			if run.Status != status || i.Progress.Stalled() != stalled || i.TriggerPending != (status == syncline.RunContinued) {
				t.Errorf("%s: %s %q, %+v", what, run.Status, run.Error, i.Progress)
			}
			if wait > 0 && i.NextDueAt.Sub(w.clock.Now()) < wait {
				t.Errorf("%s: due in %s, want %s", what, i.NextDueAt.Sub(w.clock.Now()), wait)
			}
		}
		step("moved", syncline.RunContinued, false, 0)
		step("once", syncline.RunContinued, false, 0)
		step("twice", syncline.RunContinued, false, 0)
		step("three times", syncline.RunFailed, true, 2*time.Hour)
		if run, i := w.lastRun(0), w.instance(0); run.ErrorCode != syncline.CodeStalled || i.Progress.Reason != "the run was cut" {
			t.Errorf("%+v %+v", run, i.Progress)
		}
		step("four times", syncline.RunFailed, true, 4*time.Hour)
		step("five times", syncline.RunFailed, true, 8*time.Hour)
		if len(w.told) != 1 || w.told[0].status != syncline.RunFailed {
			t.Errorf("told %v, want one failure", w.told)
		}
		failure = fmt.Errorf("thrown")
		step("another failure", syncline.RunFailed, true, 0)
		if len(w.told) != 2 {
			t.Errorf("another failure is told: %v", w.told)
		}
		failure, at = cut(fn.LimitCPU), 1
		step("got on", syncline.RunContinued, false, 0)
		failure = nil
		step("success", syncline.RunSuccess, false, 0)
		if i := w.instance(0); i.Progress != (syncline.Progress{}) || i.PollFailures != 0 {
			t.Errorf("%+v", i)
		}
	})
}

func TestWhatIsNotContinued(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		failure error
		save    bool
	}{
		"a run without a checkpoint":       {cut(fn.LimitWall), false},
		"a run out of memory":              {cut(fn.LimitMemory), true},
		"a run that returned too much":     {cut(fn.LimitOutput), true},
		"a run that threw":                 {fmt.Errorf("thrown"), true},
		"a limit that no engine has named": {cut(""), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.exec = func(ctx context.Context, h fn.Host) error {
				if c.save {
					if _, err := ask(ctx, h, fn.MethodSaveCheckpoint, `{"checkpoint":{"a":1}}`); err != nil {
						return err
					}
				}
				return c.failure
			}
			w.poll(t.Context(), 0)
			if run, i := w.lastRun(0), w.instance(0); run.Status != syncline.RunFailed || i.TriggerPending || i.PollFailures != 1 {
				t.Errorf("%s: %+v", run.Status, i)
			}
		})
	}
	t.Run("a schedule that was paused meanwhile", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, 1)
		must(t, w.ctl.Start(t.Context(), w.env.ID, w.instances[0].ID))
		w.exec = func(ctx context.Context, h fn.Host) error {
			if err := w.ctl.Pause(ctx, w.env.ID, w.instances[0].ID); err != nil {
				return err
			}
			if _, err := ask(ctx, h, fn.MethodSaveCheckpoint, `{"checkpoint":{"a":1}}`); err != nil {
				return err
			}
			return cut(fn.LimitWall)
		}
		w.poll(t.Context(), 0)
		if run, i := w.lastRun(0), w.instance(0); run.Status != syncline.RunContinued || i.TriggerPending {
			t.Errorf("%s: %+v", run.Status, i)
		}
	})
}

func TestLimitsComeFromTheNearestSettingWithinTheOperators(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.polls.Engine.Limits = fn.Limits{CPU: time.Second, Memory: 64 << 20, HostCalls: 10, LogLines: 5, Output: 1 << 20}
	w.polls.Engine.Most = syncline.RunLimits{CPU: 10 * time.Second, HostCalls: 100}
	w.polls.MostWall = 5 * time.Minute
	w.setEnvironment(func(e *syncline.Environment) {
		e.Run.Limits = syncline.RunLimits{Wall: 2 * time.Minute, CPU: time.Minute, Output: 9}
	})
	w.remanifest(func(m *syncline.Manifest) { m.Limits = syncline.RunLimits{Wall: time.Hour, HostCalls: 50} })
	w.exec = func(context.Context, fn.Host) error { return nil }
	w.poll(t.Context(), 0)
	want := fn.Limits{Wall: 5 * time.Minute, CPU: 10 * time.Second, Memory: 64 << 20, HostCalls: 50, LogLines: 5, Output: 9}
	if w.limits != want {
		t.Errorf("%+v, want %+v", w.limits, want)
	}
}
