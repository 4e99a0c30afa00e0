package api_test

import (
	"context"
	"fmt"
	"testing"

	"syncline"
	"syncline/internal/api"
	"syncline/internal/records"
	"syncline/internal/store"
)

// deletes decides with package records alone, as dispatch.Deletes does with a
// notification too.
type deletes struct{ h *harness }

func (d deletes) Confirm(ctx context.Context, env, id int64) (result syncline.ModelResult, err error) {
	err = d.h.store.Update(ctx, store.Durable, func(tx store.Tx) (err error) {
		_, result, err = records.ConfirmWindow(tx, env, id, records.Guard{}, d.h.clock.Now())
		return err
	})
	return result, err
}

func (d deletes) Discard(ctx context.Context, env, id int64) error {
	return d.h.store.Update(ctx, store.Durable, func(tx store.Tx) error {
		_, err := records.DiscardWindow(tx, env, id, d.h.clock.Now())
		return err
	})
}

// held makes deletes of Issue that are held, of all the records that are there.
func (h *harness) held() int64 {
	h.Helper()
	k, i := h.ids()
	run := h.pollRun(syncline.RunSuccess)
	target := records.Target{EnvironmentID: h.dev, ConnectionID: k.ID, Model: "Issue"}
	var id int64
	h.tx(func(tx store.Tx) (err error) {
		if id, err = records.StartTracking(tx, target, records.WindowOwner{InstanceID: i.ID, InstanceEpoch: i.Epoch, Lineage: run.ID}, h.clock.Now()); err != nil {
			return err
		}
		_, _, err = records.EndTracking(tx, h.dev, id, records.Guard{Writer: syncline.Writer{RunID: run.ID}}, records.MassDelete{Percent: 1}, h.clock.Now())
		return err
	})
	return id
}

func TestHeldDeletes(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	h.deps.Deletes = deletes{h}
	h.api = api.New(h.deps)
	h.save("Issue", `{"id":"1"}`, `{"id":"2"}`)
	h.play(scenario{name: "none", method: "GET", path: "/records/deletes", status: 200, want: []string{`{"deletes":[]}`}})
	id := h.held()
	path := fmt.Sprintf("/records/deletes/%d/", id)
	h.play(
		scenario{name: "listed", method: "GET", path: "/records/deletes", status: 200, want: []string{
			fmt.Sprintf(`"id":%d`, id), `"provider_config_key":"github","connection_id":"c1","model":"Issue","variant":"base","deletes":2,"live":2`, `"held_at":"2026-05-31T11:46:13.390Z"`}},
		scenario{name: "of another environment", method: "GET", path: "/records/deletes", headers: []string{"Authorization", "Bearer " + prodKey}, status: 200, want: []string{`{"deletes":[]}`}},
		scenario{name: "confirmed by another environment", method: "POST", path: path + "confirm", headers: []string{"Authorization", "Bearer " + prodKey}, status: 404},
		scenario{name: "no number", method: "POST", path: "/records/deletes/x/confirm", status: 404, want: []string{"there are no held deletes"}},
		scenario{name: "unknown", method: "POST", path: "/records/deletes/99/discard", status: 404},
		scenario{name: "discarded", method: "POST", path: path + "discard", status: 200, want: []string{`"deleted":0`}},
		scenario{name: "confirmed too late", method: "POST", path: path + "confirm", status: 409, want: []string{"are not held any more"}},
		scenario{name: "all are still there", method: "GET", path: "/records/count?model=Issue", headers: ofC1, status: 200, want: []string{`{"count":2}`}},
	)
	h.play(
		scenario{name: "confirmed", method: "POST", path: fmt.Sprintf("/records/deletes/%d/confirm", h.held()), status: 200, want: []string{`"deleted":2`}},
		scenario{name: "they are told as deleted", method: "GET", path: "/records?model=Issue&filter=deleted", headers: ofC1, status: 200, want: []string{`"id":"1"`, `"id":"2"`}},
	)
}
