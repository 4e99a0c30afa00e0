package retention_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/inbox"
	inboxsqlite "syncline/internal/inbox/sqlite"
	"syncline/internal/retention"
	"syncline/internal/store"
	"syncline/internal/store/mem"
	"syncline/internal/store/sqlite"
)

func TestOldRowsGoUnlessTheyAreStillNeeded(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	day := 24 * time.Hour
	c := clock.NewFake(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	s, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "syncline.db"), sqlite.Options{Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	box, err := inboxsqlite.Open(ctx, filepath.Join(t.TempDir(), "inbox.db"), inboxsqlite.Options{Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	env := syncline.Environment{UUID: syncline.NewUUID(), Name: "dev", CreatedAt: c.Now()}
	update := func(fn func(tx store.Tx) error) {
		t.Helper()
		if err := s.Update(ctx, store.Durable, fn); err != nil {
			t.Fatal(err)
		}
	}
	update(func(tx store.Tx) error { return tx.CreateEnvironment(&env) })
	position := map[string]int64{}
	deliver := func(name string, status syncline.DeliveryStatus) {
		t.Helper()
		d := &syncline.Delivery{EnvironmentID: env.ID, IntegrationID: 1, Method: "POST", Body: []byte(name), ReceivedAt: c.Now()}
		if _, err := box.Append(ctx, d, inbox.Key{}); err != nil {
			t.Fatal(err)
		}
		position[name] = d.Position
		if status == "" {
			return
		}
		update(func(tx store.Tx) error {
			if err := tx.SetRouterPosition(d.Position); err != nil {
				return err
			}
			return tx.PutDeliveryState(&syncline.DeliveryState{
				Position: d.Position, EnvironmentID: env.ID, IntegrationID: 1, Status: status, ReceivedAt: d.ReceivedAt, UpdatedAt: c.Now(),
			})
		})
	}
	run := func(finished bool) (id int64) {
		r := &syncline.Run{EnvironmentID: env.ID, UUID: syncline.NewUUID(), Status: syncline.RunRunning, StartedAt: c.Now()}
		if finished {
			r.Status, r.FinishedAt = syncline.RunSuccess, c.Now()
		}
		update(func(tx store.Tx) error { return tx.CreateRun(r) })
		return r.ID
	}
	deliver("processed", syncline.DeliveryProcessed)
	deliver("dead", syncline.DeliveryDead)
	deliver("parked", syncline.DeliveryParked)
	deliver("routed", syncline.DeliveryRouted)
	oldRun, running := run(true), run(false)
	c.Advance(40 * day)
	deliver("young", syncline.DeliveryProcessed)
	deliver("not routed", "")
	youngRun := run(true)

	sweeper := &retention.Sweeper{Store: s, Inbox: box, Clock: c, Log: slog.New(slog.DiscardHandler), Deliveries: 30 * day, Runs: 15 * day}
	if err := sweeper.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"processed": false, "dead": false, "parked": true, "routed": true, "young": true, "not routed": true} {
		found, err := box.Get(ctx, env.ID, []int64{position[name]})
		if err != nil || (len(found) == 1) != want {
			t.Errorf("%s: raw delivery kept %t, %v; want %t", name, len(found) == 1, err, want)
		}
		if name == "not routed" {
			continue
		}
		err = s.View(ctx, func(r store.Reader) error {
			_, err := r.DeliveryState(env.ID, position[name])
			return err
		})
		if (err == nil) != want {
			t.Errorf("%s: state %v; want it kept: %t", name, err, want)
		}
	}
	for id, want := range map[int64]bool{oldRun: false, running: true, youngRun: true} {
		err := s.View(ctx, func(r store.Reader) error {
			_, err := r.Run(env.ID, id)
			return err
		})
		if (err == nil) != want {
			t.Errorf("run %d: %v; want it kept: %t", id, err, want)
		}
	}
}

func TestTheSweeperEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	box, err := inboxsqlite.Open(t.Context(), filepath.Join(t.TempDir(), "inbox.db"), inboxsqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	s := &retention.Sweeper{Inbox: box, Clock: clock.NewFake(time.Now()), Log: slog.New(slog.DiscardHandler)}
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestResultsOfActionsAreKeptForTheirTime(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	day := 24 * time.Hour
	c := clock.NewFake(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	s := mem.New(c)
	defer s.Close()
	box, err := inboxsqlite.Open(ctx, filepath.Join(t.TempDir(), "inbox.db"), inboxsqlite.Options{Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	env := syncline.Environment{Name: "dev"}
	var ended, waits syncline.Job
	err = s.Update(ctx, store.Durable, func(tx store.Tx) error {
		integration := syncline.Integration{UniqueKey: "github", Provider: "github"}
		connection := syncline.Connection{ConnectionID: "acme"}
		function := syncline.Function{Type: syncline.FunctionAction, Name: "close"}
		for _, make := range []func() error{
			func() error { return tx.CreateEnvironment(&env) },
			func() error { integration.EnvironmentID = env.ID; return tx.CreateIntegration(&integration) },
			func() error {
				connection.EnvironmentID, connection.IntegrationID = env.ID, integration.ID
				return tx.CreateConnection(&connection)
			},
			func() error {
				function.EnvironmentID, function.IntegrationID = env.ID, integration.ID
				return tx.DeployFunction(&function, &syncline.FunctionVersion{})
			},
			func() error {
				ended = syncline.Job{EnvironmentID: env.ID, ConnectionID: connection.ID, FunctionID: function.ID, Kind: syncline.RunAction}
				waits = ended
				ended.Status, ended.FinishedAt = syncline.JobDone, c.Now()
				return errors.Join(tx.CreateJob(&ended), tx.CreateJob(&waits))
			},
		} {
			if err := make(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sweeper := &retention.Sweeper{Store: s, Inbox: box, Clock: c, Log: slog.New(slog.DiscardHandler), Deliveries: 30 * day, Runs: 15 * day, Jobs: 2 * day}
	for days, want := range []bool{true, true, true, false} {
		if err := sweeper.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		_ = s.View(ctx, func(r store.Reader) error {
			_, endedErr := r.Job(env.ID, ended.ID)
			_, waitsErr := r.Job(env.ID, waits.ID)
			if (endedErr == nil) != want || waitsErr != nil {
				t.Errorf("after %d days: %v, %v", days, endedErr, waitsErr)
			}
			return nil
		})
		c.Advance(day)
	}
}
