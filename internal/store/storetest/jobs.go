package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

// newJob makes a pending job of the world's connection.
func (w *world) newJob(tx store.Tx, change func(*syncline.Job)) syncline.Job {
	w.t.Helper()
	j := syncline.Job{
		EnvironmentID: w.env.ID, ConnectionID: w.connection.ID, FunctionID: w.function.ID, Kind: syncline.RunAction,
		ConnectionKey: "customer-1", IntegrationKey: "github", Input: json.RawMessage(`{"a":"é"}`), CreatedAt: start,
	}
	if change != nil {
		change(&j)
	}
	w.ok(tx.CreateJob(&j))
	return j
}

func (w *world) claimJobs(owner string, now, until time.Time, per, max int) (jobs []syncline.Job) {
	w.t.Helper()
	w.update(func(tx store.Tx) (err error) {
		jobs, err = tx.ClaimJobs(owner, now, until, per, max)
		return err
	})
	return jobs
}

func (w *world) job(id int64) syncline.Job {
	w.t.Helper()
	return read(w, func(r store.Reader) (syncline.Job, error) { return r.Job(w.env.ID, id) })
}

func idsOf(jobs []syncline.Job) []int64 {
	out := []int64{}
	for _, j := range jobs {
		out = append(out, j.ID)
	}
	return out
}

var jobTests = []test{
	{"a job is read back with every field, runs under its lease, and ends", func(t *testing.T, w *world) {
		var j syncline.Job
		w.update(func(tx store.Tx) error {
			j = w.newJob(tx, func(j *syncline.Job) { j.MaxRetries = 3; j.Kind = syncline.RunOnEvent })
			return nil
		})
		if j.ID == 0 || j.UUID == "" || j.Status != syncline.JobPending || !j.NotBefore.Equal(start) {
			t.Errorf("made %+v", j)
		}
		same(t, "made", w.job(j.ID), j)
		same(t, "by UUID", read(w, func(r store.Reader) (syncline.Job, error) { return r.JobByUUID(w.env.ID, j.UUID) }), j)
		claimed := w.claimJobs("p1", seconds(1), seconds(10), 4, 4)
		if len(claimed) != 1 {
			t.Fatalf("claimed %+v", claimed)
		}
		j.Lease = syncline.Lease{Owner: "p1", Epoch: 1, Until: seconds(10)}
		same(t, "claimed", claimed[0], j)
		j.Status, j.Attempts, j.RunID = syncline.JobRunning, 1, 77
		w.update(func(tx store.Tx) error { return tx.UpdateJob(&j) })
		same(t, "running", w.job(j.ID), j)
		w.update(func(tx store.Tx) error { return tx.ExtendJob(w.env.ID, j.ID, 1, seconds(20)) })
		j.Lease.Until = seconds(20)
		same(t, "extended", w.job(j.ID), j)
		j.Status, j.Result, j.FinishedAt = syncline.JobDone, json.RawMessage(`[1,"ü"]`), seconds(5)
		w.update(func(tx store.Tx) error { return tx.UpdateJob(&j) })
		if j.Lease.Owner != "" || !j.Ended() {
			t.Errorf("ended %+v", j)
		}
		same(t, "done", w.job(j.ID), j)
		if again := w.claimJobs("p1", seconds(30), seconds(40), 4, 4); len(again) != 0 {
			t.Errorf("an ended job was claimed: %+v", again)
		}
	}},
	{"what a job names must be there, in its environment", func(t *testing.T, w *world) {
		other := *w
		w.update(func(tx store.Tx) error { other.populate(tx, "other"); return nil })
		for name, change := range map[string]func(*syncline.Job){
			"connection": func(j *syncline.Job) { j.ConnectionID = other.connection.ID },
			"function":   func(j *syncline.Job) { j.FunctionID = other.function.ID },
		} {
			t.Run(name, func(t *testing.T) {
				w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
					j := syncline.Job{EnvironmentID: w.env.ID, ConnectionID: w.connection.ID, FunctionID: w.function.ID, Kind: syncline.RunAction}
					change(&j)
					return tx.CreateJob(&j)
				})
			})
		}
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Job(w.env.ID, 99); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.JobByUUID(w.env.ID, "nope"); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { return tx.ExtendJob(w.env.ID, 99, 1, start) })
	}},
	{"a lease that moved on fences everything of its former holder", func(t *testing.T, w *world) {
		var j syncline.Job
		w.update(func(tx store.Tx) error { j = w.newJob(tx, nil); return nil })
		first := w.claimJobs("p1", seconds(0), seconds(10), 4, 4)[0]
		if got := w.claimJobs("p2", seconds(5), seconds(15), 4, 4); len(got) != 0 {
			t.Errorf("a held job was claimed: %+v", got)
		}
		second := w.claimJobs("p2", seconds(10), seconds(20), 4, 4)[0] // p1 is late
		if second.Lease.Epoch != 2 {
			t.Errorf("the epoch is %d", second.Lease.Epoch)
		}
		first.Status = syncline.JobDone
		for name, write := range map[string]func(tx store.Tx) error{
			"update": func(tx store.Tx) error { return tx.UpdateJob(&first) },
			"extend": func(tx store.Tx) error { return tx.ExtendJob(w.env.ID, j.ID, 1, seconds(99)) },
			"fence":  func(tx store.Tx) error { return tx.FenceJob(w.env.ID, j.ID, 1) },
			"delete": func(tx store.Tx) error { return tx.DeleteJob(w.env.ID, j.ID, 1) },
		} {
			t.Run(name, func(*testing.T) { w.fails(syncline.CodeFenced, write) })
		}
		w.update(func(tx store.Tx) error { return tx.FenceJob(w.env.ID, j.ID, 2) })
		second.Status = syncline.JobPending // given back
		w.update(func(tx store.Tx) error { return tx.UpdateJob(&second) })
		w.fails(syncline.CodeFenced, func(tx store.Tx) error { return tx.FenceJob(w.env.ID, j.ID, 2) })
	}},
	{"jobs begin when they may, the first first, and not more of an environment than it may have", func(t *testing.T, w *world) {
		other := *w
		var ids, others []int64
		w.update(func(tx store.Tx) error {
			other.populate(tx, "other")
			for n := range 5 {
				ids = append(ids, w.newJob(tx, func(j *syncline.Job) { j.NotBefore = seconds(10 - n) }).ID)
			}
			w.newJob(tx, func(j *syncline.Job) { // counts for nothing
				j.Attended, j.Status, j.Lease = true, syncline.JobRunning, syncline.Lease{Owner: "p1", Until: seconds(999)}
			})
			others = append(others, other.newJob(tx, func(j *syncline.Job) { j.NotBefore = seconds(8) }).ID)
			return nil
		})
		next := func(now time.Time, per int) time.Time {
			return read(w, func(r store.Reader) (time.Time, error) { return r.NextJob(now, per) })
		}
		same(t, "the next", next(seconds(0), 2), seconds(6))
		same(t, "the next is overdue", next(seconds(9), 2), seconds(9))
		same(t, "nothing is due", idsOf(w.claimJobs("p1", seconds(5), seconds(100), 2, 8)), []int64{})
		same(t, "two of one and one of the other", slices.Sorted(slices.Values(idsOf(w.claimJobs("p1", seconds(9), seconds(100), 2, 8)))),
			[]int64{ids[3], ids[4], others[0]})
		same(t, "no room", idsOf(w.claimJobs("p1", seconds(20), seconds(100), 2, 8)), []int64{})
		same(t, "none that has room", next(seconds(20), 2), time.Time{})
		same(t, "one more", idsOf(w.claimJobs("p1", seconds(20), seconds(100), 3, 8)), []int64{ids[2]})
		same(t, "as many as are asked for", idsOf(w.claimJobs("p1", seconds(20), seconds(100), 9, 1)), []int64{ids[1]})
		same(t, "leases that ended make room", slices.Sorted(slices.Values(idsOf(w.claimJobs("p2", seconds(100), seconds(200), 2, 8)))),
			[]int64{ids[3], ids[4], others[0]})
	}},
	{"environments take turns", func(t *testing.T, w *world) {
		other := *w
		var foreign int64
		w.update(func(tx store.Tx) error {
			other.populate(tx, "other")
			for range 5 {
				w.newJob(tx, nil)
			}
			foreign = other.newJob(tx, func(j *syncline.Job) { j.NotBefore = seconds(5) }).ID
			return nil
		})
		got := idsOf(w.claimJobs("p1", seconds(9), seconds(100), 4, 2))
		if len(got) != 2 || got[0] != foreign && got[1] != foreign {
			t.Errorf("claimed %v; %d of the other environment waits", got, foreign)
		}
	}},
	{"each job is claimed once by processes that claim at the same time", func(t *testing.T, w *world) {
		const jobs, per = 40, 7
		w.update(func(tx store.Tx) error {
			for range jobs {
				w.newJob(tx, nil)
			}
			return nil
		})
		var mu sync.Mutex
		seen, underWay, most := map[int64]int{}, 0, 0
		var all sync.WaitGroup
		for p := range 4 {
			all.Go(func() {
				for {
					var got []syncline.Job
					err := w.s.Update(t.Context(), store.Relaxed, func(tx store.Tx) (err error) {
						got, err = tx.ClaimJobs(fmt.Sprint("p", p), seconds(1), seconds(100), per, 3)
						return err
					})
					w.ok(err)
					mu.Lock()
					for _, j := range got {
						seen[j.ID]++
					}
					underWay += len(got)
					most = max(most, underWay)
					done := len(seen) == jobs
					mu.Unlock()
					for _, j := range got {
						j.Status, j.FinishedAt = syncline.JobDone, seconds(2)
						mu.Lock()
						underWay-- // before it is free in the store
						mu.Unlock()
						w.ok(w.s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error { return tx.UpdateJob(&j) }))
					}
					if done || err != nil {
						return
					}
				}
			})
		}
		all.Wait()
		for id, n := range seen {
			if n != 1 {
				t.Errorf("job %d was claimed %d times", id, n)
			}
		}
		if len(seen) != jobs || most > per {
			t.Errorf("%d were claimed; at most %d were under way, the limit is %d", len(seen), most, per)
		}
	}},
	{"running jobs that nobody holds are lost, and one takes them", func(t *testing.T, w *world) {
		var waits, runs, attended syncline.Job
		w.update(func(tx store.Tx) error {
			waits = w.newJob(tx, func(j *syncline.Job) { j.NotBefore = seconds(99) })
			runs = w.newJob(tx, func(j *syncline.Job) {
				j.Status, j.Lease = syncline.JobRunning, syncline.Lease{Owner: "p1", Until: seconds(10)}
			})
			attended = w.newJob(tx, func(j *syncline.Job) {
				j.Attended, j.Status, j.Lease = true, syncline.JobRunning, syncline.Lease{Owner: "p2", Until: seconds(20)}
			})
			return nil
		})
		lost := func(now time.Time) []int64 {
			return idsOf(read(w, func(r store.Reader) ([]syncline.Job, error) { return r.LostJobs(now, 0) }))
		}
		same(t, "all are held", lost(seconds(9)), []int64{})
		same(t, "one is not", lost(seconds(10)), []int64{runs.ID})
		take := func(id int64, now time.Time) (lease syncline.Lease, ok bool) {
			w.update(func(tx store.Tx) (err error) {
				lease, ok, err = tx.TakeJob(w.env.ID, id, "reaper", now, now.Add(time.Minute))
				return err
			})
			return lease, ok
		}
		if _, ok := take(attended.ID, seconds(10)); ok {
			t.Error("a job that is held was taken")
		}
		if lease, ok := take(runs.ID, seconds(10)); !ok || lease.Epoch != 2 || lease.Owner != "reaper" {
			t.Errorf("taken: %v %+v", ok, lease)
		}
		w.update(func(tx store.Tx) error { return tx.ReleaseLeases() })
		same(t, "after a start", lost(seconds(11)), []int64{runs.ID, attended.ID})
		w.update(func(tx store.Tx) error {
			lease, ok, err := tx.TakeJob(w.env.ID, attended.ID, "reaper", seconds(11), seconds(20))
			if !ok {
				t.Error("it is not free")
			}
			w.ok(err)
			return tx.DeleteJob(w.env.ID, attended.ID, lease.Epoch)
		})
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Job(w.env.ID, attended.ID); return err })
		if j := w.job(waits.ID); j.Status != syncline.JobPending {
			t.Errorf("the one that waits: %+v", j)
		}
	}},
	{"jobs that ended are removed when they are old", func(t *testing.T, w *world) {
		var jobs []syncline.Job
		w.update(func(tx store.Tx) error {
			for n := range 3 {
				jobs = append(jobs, w.newJob(tx, func(j *syncline.Job) { j.Status, j.FinishedAt = syncline.JobFailed, seconds(n) }))
			}
			jobs = append(jobs, w.newJob(tx, nil))
			return nil
		})
		purge := func(before time.Time, limit int) (n int) {
			w.update(func(tx store.Tx) (err error) {
				n, err = tx.PurgeJobs(before, limit)
				return err
			})
			return n
		}
		if n := purge(seconds(2), 1); n != 1 {
			t.Errorf("%d removed", n)
		}
		if n := purge(seconds(2), 9); n != 1 {
			t.Errorf("%d removed", n)
		}
		for i, there := range []bool{false, false, true, true} {
			err := w.s.View(t.Context(), func(r store.Reader) error { _, err := r.Job(w.env.ID, jobs[i].ID); return err })
			if (err == nil) != there {
				t.Errorf("job %d: %v", i, err)
			}
		}
	}},
	{"nothing is routed to a connection that is being deleted", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error {
			c, err := tx.Connection(w.env.ID, w.connection.ID)
			w.ok(err)
			c.DeletingAt = seconds(3)
			return tx.UpdateConnection(&c)
		})
		c := read(w, func(r store.Reader) (syncline.Connection, error) { return r.Connection(w.env.ID, w.connection.ID) })
		same(t, "time", c.DeletingAt, seconds(3))
		same(t, "matching", read(w, func(r store.Reader) ([]syncline.Connection, error) {
			return r.ConnectionsMatching(w.env.ID, w.integration.ID, syncline.MatchKey{Property: "connection_id", Value: "customer-1"})
		}), []syncline.Connection{})
	}},
}

var checkpointTests = []test{
	{"a function keeps a checkpoint for each connection, until one of the two is deleted", func(t *testing.T, w *world) {
		var connection syncline.Connection
		var function syncline.Function
		get := func(connection, function int64) string {
			return string(read(w, func(r store.Reader) (json.RawMessage, error) { return r.Checkpoint(w.env.ID, connection, function) }))
		}
		set := func(connection, function int64, c string) {
			w.update(func(tx store.Tx) error {
				if c == "" {
					return tx.SetCheckpoint(w.env.ID, connection, function, nil)
				}
				return tx.SetCheckpoint(w.env.ID, connection, function, json.RawMessage(c))
			})
		}
		w.update(func(tx store.Tx) error {
			connection = w.newConnection(tx, "customer-2")
			function, _ = w.newFunction(tx, "other")
			return nil
		})
		set(w.connection.ID, w.function.ID, `{"n":1}`)
		set(w.connection.ID, w.function.ID, `{"n":2}`)
		set(w.connection.ID, function.ID, `{"n":3}`)
		set(connection.ID, function.ID, `{"n":4}`)
		same(t, "replaced", get(w.connection.ID, w.function.ID), `{"n":2}`)
		same(t, "none", get(connection.ID, w.function.ID), "")
		set(connection.ID, function.ID, "")
		same(t, "cleared", get(connection.ID, function.ID), "")
		set(connection.ID, function.ID, `{"n":5}`)
		w.update(func(tx store.Tx) error { return tx.DeleteConnection(w.env.ID, connection.ID, seconds(1)) })
		same(t, "of a connection that was deleted", get(connection.ID, function.ID), "")
		w.update(func(tx store.Tx) error { return tx.DeleteFunction(w.env.ID, function.ID, seconds(1)) })
		same(t, "of a function that was deleted", get(w.connection.ID, function.ID), "")
		same(t, "the other", get(w.connection.ID, w.function.ID), `{"n":2}`)
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.SetCheckpoint(w.env.ID, connection.ID, w.function.ID, json.RawMessage(`{}`))
		})
	}},
}
