package mem

import (
	"bytes"
	"fmt"
	"time"

	"syncline"
)

// named is the key of a row that an environment has under a name.
func named(env int64, name string) string { return fmt.Sprintf("%020d/%s", env, name) }

func (r *reader) Variables(env int64) ([]syncline.Variable, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	return each(&r.variables, func(v syncline.Variable) bool { return v.EnvironmentID == env }), nil
}

func (t *tx) PutVariable(v *syncline.Variable) error {
	if _, err := t.Environment(v.EnvironmentID); err != nil {
		return err
	}
	t.stamp(&v.UpdatedAt)
	fresh := *v
	fresh.Value.Data, fresh.UpdatedAt = bytes.Clone(v.Value.Data), utc(v.UpdatedAt)
	t.variables.Set(named(v.EnvironmentID, v.Name), fresh)
	return nil
}

func (t *tx) DeleteVariable(env int64, name string) error {
	if err := t.open(); err != nil {
		return err
	}
	if _, ok := t.variables.Delete(named(env, name)); !ok {
		return notFound("variable", name)
	}
	return nil
}

func (r *reader) Lock(env int64, key string) (l syncline.Lock, err error) {
	if err := r.open(); err != nil {
		return l, err
	}
	l, ok := r.locks.Get(named(env, key))
	if !ok {
		return l, notFound("lock", key)
	}
	return l, nil
}

func (t *tx) AcquireLock(l *syncline.Lock, now time.Time) (ok bool, err error) {
	if _, err := t.Environment(l.EnvironmentID); err != nil {
		return false, err
	}
	has, taken := t.locks.Get(named(l.EnvironmentID, l.Key))
	if taken && has.Owner != l.Owner && has.Until.After(now) {
		return false, nil
	}
	fresh := *l
	fresh.Until = utc(l.Until)
	t.locks.Set(named(l.EnvironmentID, l.Key), fresh)
	return true, nil
}

func (t *tx) ReleaseLock(env int64, key, owner string, now time.Time) (bool, error) {
	if err := t.open(); err != nil {
		return false, err
	}
	l, ok := t.locks.Get(named(env, key))
	if !ok || l.Owner != owner {
		return false, nil
	}
	t.locks.Delete(named(env, key))
	return l.Until.After(now), nil
}

func (t *tx) ReleaseLocks(env int64, owner string) (int, error) {
	if err := t.open(); err != nil {
		return 0, err
	}
	held := each(&t.locks, func(l syncline.Lock) bool { return l.EnvironmentID == env && l.Owner == owner })
	for _, l := range held {
		t.locks.Delete(named(env, l.Key))
	}
	return len(held), nil
}
