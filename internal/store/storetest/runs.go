package storetest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

func (w *world) newRun(tx store.Tx, r syncline.Run) syncline.Run {
	w.t.Helper()
	r.EnvironmentID = w.env.ID
	if r.StartedAt.IsZero() {
		r.StartedAt = start
	}
	w.ok(tx.CreateRun(&r))
	return r
}

var runTests = []test{
	{"a run is read back by id and UUID with every field, and updated", func(t *testing.T, w *world) {
		r := syncline.Run{ConnectionID: w.connection.ID, InstanceID: w.instance.ID, FunctionID: w.function.ID, VersionID: w.version.ID,
			Kind: syncline.RunWebhook, Status: syncline.RunRunning, EventID: 4, Attempt: 2, SyncType: syncline.SyncWebhook, Mode: syncline.ModeRewind, Parent: "0198c0de-7a1e-7000-8000-000000000001"}
		w.update(func(tx store.Tx) error { r = w.newRun(tx, r); return nil })
		if r.ID == 0 || r.UUID == "" || r.Lineage != r.ID {
			t.Errorf("made %+v", r)
		}
		byID := func(rd store.Reader) (syncline.Run, error) { return rd.Run(w.env.ID, r.ID) }
		same(t, "made", read(w, byID), r)
		r.Status, r.ErrorCode, r.Error, r.FinishedAt = syncline.RunFailed, syncline.CodeScript, "it threw «é»", seconds(3)
		r.Models = map[string]syncline.ModelResult{"Issue": {Added: 1, Updated: 2, Deleted: 3, Unchanged: 4, Skipped: 5, Contested: 6, Unknown: 7}}
		r.Warnings = []string{"one", "two"}
		w.update(func(tx store.Tx) error { return tx.UpdateRun(&r) })
		same(t, "updated", read(w, byID), r)
		same(t, "by UUID", read(w, func(rd store.Reader) (syncline.Run, error) { return rd.RunByUUID(w.env.ID, r.UUID) }), r)
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.RunByUUID(w.env.ID, "nope"); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { return tx.UpdateRun(&syncline.Run{ID: 99, EnvironmentID: w.env.ID}) })
		w.update(func(tx store.Tx) error {
			next := w.newRun(tx, syncline.Run{Kind: syncline.RunPoll, Status: syncline.RunRunning, Lineage: r.ID})
			if next.Lineage != r.ID {
				t.Errorf("lineage %d, want %d", next.Lineage, r.ID)
			}
			return nil
		})
	}},
	{"runs are listed newest first by every filter", func(t *testing.T, w *world) {
		var ids []int64
		w.update(func(tx store.Tx) error {
			for n := range 8 {
				r := syncline.Run{ConnectionID: int64(1 + n%2), InstanceID: int64(1 + n%3), FunctionID: int64(1 + n/4), Kind: syncline.RunPoll, Status: syncline.RunSuccess, FinishedAt: seconds(1)}
				if n%4 == 0 {
					r.Kind, r.Status, r.FinishedAt = syncline.RunWebhook, syncline.RunRunning, time.Time{}
				}
				ids = append(ids, w.newRun(tx, r).ID)
			}
			return nil
		})
		for name, c := range map[string]struct {
			filter store.RunFilter
			want   []int
		}{
			"all":        {store.RunFilter{}, []int{7, 6, 5, 4, 3, 2, 1, 0}},
			"connection": {store.RunFilter{ConnectionID: 1}, []int{6, 4, 2, 0}},
			"instance":   {store.RunFilter{InstanceID: 3}, []int{5, 2}},
			"function":   {store.RunFilter{FunctionID: 2}, []int{7, 6, 5, 4}},
			"kind":       {store.RunFilter{Kind: syncline.RunWebhook}, []int{4, 0}},
			"status":     {store.RunFilter{Status: syncline.RunSuccess, ConnectionID: 1}, []int{6, 2}},
			"before":     {store.RunFilter{Before: ids[3]}, []int{2, 1, 0}},
			"page":       {store.RunFilter{Page: store.Page{Limit: 2, Offset: 1}}, []int{6, 5}},
		} {
			var want, got []int64
			for _, n := range c.want {
				want = append(want, ids[n])
			}
			for _, r := range read(w, func(r store.Reader) ([]syncline.Run, error) { return r.Runs(w.env.ID, c.filter) }) {
				got = append(got, r.ID)
			}
			same(t, name, got, want)
		}
		running := read(w, func(r store.Reader) ([]syncline.Run, error) { return r.RunningRuns(0) })
		if len(running) != 2 || running[0].ID != ids[0] || running[1].ID != ids[4] {
			t.Errorf("running %+v", running)
		}
	}},
	{"logs come in order, after an id, with their data", func(t *testing.T, w *world) {
		var run syncline.Run
		w.update(func(tx store.Tx) error {
			run = w.newRun(tx, syncline.Run{Kind: syncline.RunPoll, Status: syncline.RunRunning})
			other := w.newRun(tx, syncline.Run{Kind: syncline.RunPoll, Status: syncline.RunRunning})
			for n := range 5 {
				w.ok(tx.AppendLogs(w.env.ID, run.ID, []syncline.LogLine{
					{At: seconds(n), Level: syncline.LogInfo, Message: fmt.Sprint("line ", n), Data: json.RawMessage(`{"n":` + fmt.Sprint(n) + `}`)},
					{At: seconds(n), Level: syncline.LogError, Message: "no data"}}))
				w.ok(tx.AppendLogs(w.env.ID, other.ID, []syncline.LogLine{{At: start, Message: "other"}}))
			}
			return tx.AppendLogs(w.env.ID, run.ID, nil)
		})
		logs := func(after int64, limit int) []syncline.LogLine {
			return read(w, func(r store.Reader) ([]syncline.LogLine, error) { return r.Logs(w.env.ID, run.ID, after, limit) })
		}
		all := logs(0, 0)
		if len(all) != 10 {
			t.Fatalf("%d lines", len(all))
		}
		for n, l := range all {
			want := syncline.LogLine{ID: l.ID, RunID: run.ID, At: seconds(n / 2), Level: syncline.LogError, Message: "no data"}
			if n%2 == 0 {
				want.Level, want.Message, want.Data = syncline.LogInfo, fmt.Sprint("line ", n/2), json.RawMessage(`{"n":`+fmt.Sprint(n/2)+`}`)
			}
			same(t, fmt.Sprint("line ", n), l, want)
			if n > 0 && l.ID <= all[n-1].ID {
				t.Errorf("id %d after %d", l.ID, all[n-1].ID)
			}
		}
		same(t, "after the third", logs(all[2].ID, 2), all[3:5])
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.AppendLogs(w.env.ID, 99, []syncline.LogLine{{Message: "x"}})
		})
	}},
}
