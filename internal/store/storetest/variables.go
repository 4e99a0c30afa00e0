package storetest

import (
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

var variableTests = []test{
	{"a variable is made, replaced, listed by name and deleted, in its environment alone", func(t *testing.T, w *world) {
		other := syncline.Environment{Name: "other"}
		w.update(func(tx store.Tx) error { return tx.CreateEnvironment(&other) })
		b := syncline.Variable{EnvironmentID: w.env.ID, Name: "B", Value: syncline.Sealed{KeyID: "k1", Data: []byte{0, 1}}, UpdatedAt: start}
		a := syncline.Variable{EnvironmentID: w.env.ID, Name: "A", Value: syncline.Sealed{KeyID: "k1", Data: []byte("é")}, UpdatedAt: start}
		foreign := syncline.Variable{EnvironmentID: other.ID, Name: "A", Value: syncline.Sealed{KeyID: "k1", Data: []byte("x")}, UpdatedAt: start}
		w.update(func(tx store.Tx) error {
			for _, v := range []*syncline.Variable{&b, &a, &foreign} {
				if err := tx.PutVariable(v); err != nil {
					return err
				}
			}
			return nil
		})
		list := func(env int64) []syncline.Variable {
			return read(w, func(r store.Reader) ([]syncline.Variable, error) { return r.Variables(env) })
		}
		same(t, "list", list(w.env.ID), []syncline.Variable{a, b})
		a.Value, a.UpdatedAt = syncline.Sealed{KeyID: "k2", Data: []byte("new")}, seconds(5)
		w.update(func(tx store.Tx) error { return tx.PutVariable(&a) })
		same(t, "replaced", list(w.env.ID), []syncline.Variable{a, b})
		w.update(func(tx store.Tx) error { return tx.DeleteVariable(w.env.ID, "A") })
		same(t, "deleted", list(w.env.ID), []syncline.Variable{b})
		same(t, "the other environment's", list(other.ID), []syncline.Variable{foreign})
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { return tx.DeleteVariable(w.env.ID, "A") })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.PutVariable(&syncline.Variable{EnvironmentID: 99, Name: "A"})
		})
	}},
}

var lockTests = []test{
	{"one owner has a lock until it frees it, or until its end", func(t *testing.T, w *world) {
		lock := func(owner string, until time.Time) *syncline.Lock {
			return &syncline.Lock{EnvironmentID: w.env.ID, Key: "k", Owner: owner, Until: until, Kind: syncline.RunPoll, InstanceID: 7, LeaseEpoch: 3}
		}
		acquire := func(owner string, until, now time.Time) (ok bool) {
			w.update(func(tx store.Tx) (err error) {
				ok, err = tx.AcquireLock(lock(owner, until), now)
				return err
			})
			return ok
		}
		release := func(owner string, now time.Time) (had bool) {
			w.update(func(tx store.Tx) (err error) {
				had, err = tx.ReleaseLock(w.env.ID, "k", owner, now)
				return err
			})
			return had
		}
		check := func(what string, got, want bool) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %v", what, got)
			}
		}
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Lock(w.env.ID, "k"); return err })
		check("a free lock", acquire("a", seconds(10), seconds(0)), true)
		check("a lock that another has", acquire("b", seconds(10), seconds(1)), false)
		same(t, "lock", read(w, func(r store.Reader) (syncline.Lock, error) { return r.Lock(w.env.ID, "k") }), *lock("a", seconds(10)))
		check("one's own lock, again", acquire("a", seconds(20), seconds(1)), true)
		check("after its first end", acquire("b", seconds(30), seconds(11)), false)
		check("freeing another's", release("b", seconds(11)), false)
		check("at its end", acquire("b", seconds(30), seconds(20)), true)
		check("freeing what is another's now", release("a", seconds(21)), false)
		check("freeing one's own", release("b", seconds(21)), true)
		check("freeing it twice", release("b", seconds(21)), false)
		check("a lock that was freed", acquire("a", seconds(30), seconds(22)), true)
		check("freeing it after its end", release("a", seconds(31)), false)
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			_, err := tx.AcquireLock(&syncline.Lock{EnvironmentID: 99, Key: "k", Owner: "a", Until: seconds(9)}, start)
			return err
		})
	}},
	{"all locks of an owner are freed together, and old ones are removed", func(t *testing.T, w *world) {
		other := syncline.Environment{Name: "other"}
		w.update(func(tx store.Tx) error { return tx.CreateEnvironment(&other) })
		w.update(func(tx store.Tx) error {
			for _, l := range []syncline.Lock{
				{EnvironmentID: w.env.ID, Key: "1", Owner: "a", Until: seconds(10)}, {EnvironmentID: w.env.ID, Key: "2", Owner: "a", Until: seconds(10)},
				{EnvironmentID: w.env.ID, Key: "3", Owner: "b", Until: seconds(10)}, {EnvironmentID: other.ID, Key: "1", Owner: "a", Until: seconds(20)},
			} {
				if ok, err := tx.AcquireLock(&l, start); err != nil || !ok {
					t.Errorf("%v: %v %v", l, ok, err)
				}
			}
			return nil
		})
		w.update(func(tx store.Tx) error {
			n, err := tx.ReleaseLocks(w.env.ID, "a")
			if n != 2 {
				t.Errorf("%d were freed", n)
			}
			return err
		})
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Lock(w.env.ID, "1"); return err })
		w.update(func(tx store.Tx) error {
			n, err := tx.PurgeLocks(seconds(15), 10)
			if n != 1 {
				t.Errorf("%d were removed", n)
			}
			return err
		})
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Lock(w.env.ID, "3"); return err })
		read(w, func(r store.Reader) (syncline.Lock, error) { return r.Lock(other.ID, "1") })
	}},
}
