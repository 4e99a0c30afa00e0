package records

import (
	"fmt"
	"time"

	"syncline"
	"syncline/internal/store"
)

// WindowOwner is the poll that tracks deletes.
type WindowOwner struct {
	InstanceID    int64
	InstanceEpoch int64
	Lineage       int64
	RunID         int64
	// Midway says that the poll goes on from a checkpoint: what came before it
	// may have been seen under a window that is still open.
	Midway bool
	// Partial says that the poll does not list everything: it began once more in
	// the middle of a listing. A window that it begins deletes nothing.
	Partial bool
}

// StartTracking begins a delete-tracking window of a collection and returns its
// id. A poll that resumes another, or that goes on from a checkpoint, continues
// the window that is open, if it is of the same instance and epoch: its start is
// earlier, so no record that the poll will not see again is taken for missing.
// Otherwise an open window is given up; one that is held stays.
func StartTracking(tx store.Tx, t Target, o WindowOwner, now time.Time) (int64, error) {
	id, err := tx.EnsureCollection(t.EnvironmentID, t.ConnectionID, t.Model, now)
	if err != nil {
		return 0, err
	}
	coll, err := tx.LockCollection(t.EnvironmentID, id)
	if err != nil {
		return 0, err
	}
	if coll.WindowID != 0 {
		w, err := tx.DeleteWindow(t.EnvironmentID, coll.WindowID)
		if err != nil {
			return 0, err
		}
		if w.State == syncline.WindowOpen {
			if owns(o, &w) && (w.Lineage == o.Lineage || o.Midway) {
				return w.ID, nil
			}
			w.State, w.ClosedAt = syncline.WindowClosed, now
			if err := tx.UpdateWindow(&w); err != nil {
				return 0, err
			}
		}
	}
	w := syncline.DeleteWindow{
		EnvironmentID: t.EnvironmentID, CollectionID: id, InstanceID: o.InstanceID, InstanceEpoch: o.InstanceEpoch, Lineage: o.Lineage,
		StartSeq: coll.LastSeq, State: syncline.WindowOpen, StartedAt: now,
	}
	if o.Partial {
		w.StartSeq = 0 // before everything: nothing stood when it began
	}
	err = tx.OpenWindow(&w)
	return w.ID, err
}

func owns(o WindowOwner, w *syncline.DeleteWindow) bool {
	return w.InstanceID == o.InstanceID && w.InstanceEpoch == o.InstanceEpoch
}

// OpenWindow is the id of the window of a collection that is open and belongs to
// the poll; 0 when there is none.
func OpenWindow(r store.Reader, t Target, o WindowOwner) (int64, error) {
	coll, err := r.Collection(t.EnvironmentID, t.ConnectionID, t.Model)
	if syncline.CodeOf(err) == syncline.CodeNotFound || err == nil && coll.WindowID == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	w, err := r.DeleteWindow(t.EnvironmentID, coll.WindowID)
	if err != nil || w.State != syncline.WindowOpen || !owns(o, &w) {
		return 0, err
	}
	return w.ID, nil
}

// Missing lists the records that a window would delete, were it ended now; none
// when they are so many that they would be held.
func Missing(r store.Reader, env, windowID int64, m MassDelete) ([]string, error) {
	w, err := r.DeleteWindow(env, windowID)
	if err != nil || w.State != syncline.WindowOpen || w.StartSeq == 0 {
		return nil, err
	}
	q := missingFrom(&w)
	if m.Percent > 0 {
		deletes, err := r.CountMatching(env, w.CollectionID, q)
		if err != nil {
			return nil, err
		}
		live, err := r.CountRecords(env, w.CollectionID)
		if err != nil || m.holds(deletes, live) {
			return nil, err
		}
	}
	var ids []string
	err = r.ScanRecords(env, w.CollectionID, q, func(rec *syncline.Record) bool {
		ids = append(ids, rec.ID)
		return true
	})
	return ids, err
}

// MassDelete says when the deletes of one window are held: when they are more
// than Records and more than Percent of the live records. A zero Percent holds
// nothing.
type MassDelete struct {
	Records int
	Percent int
}

func (m MassDelete) holds(deletes, live int) bool {
	return m.Percent > 0 && deletes > m.Records && deletes*100 > live*m.Percent
}

// EndTracking ends a window: records that stood before it began and that nobody
// touched since are deleted. When they are too many they are held instead, and
// the window is returned. What an earlier window of the collection held is given
// up: this one knows better. A window that is not open any more does nothing.
func EndTracking(tx store.Tx, env, windowID int64, g Guard, m MassDelete, now time.Time) (result syncline.ModelResult, held *syncline.DeleteWindow, err error) {
	w, coll, err := lockWindow(tx, env, windowID)
	if err != nil || w.State != syncline.WindowOpen {
		return result, nil, err
	}
	if err := discardHeld(tx, &w, now); err != nil {
		return result, nil, err
	}
	w.RunID = g.Writer.RunID
	if w.StartSeq == 0 { // nothing stood when it began
		w.State, w.ClosedAt = syncline.WindowClosed, now
		return result, nil, tx.UpdateWindow(&w)
	}
	if m.Percent > 0 {
		if w.Deletes, err = tx.CountMatching(env, coll.ID, missingFrom(&w)); err != nil {
			return result, nil, err
		}
		if w.Live, err = tx.CountRecords(env, coll.ID); err != nil {
			return result, nil, err
		}
		if m.holds(w.Deletes, w.Live) {
			w.State, w.HeldAt = syncline.WindowHeld, now
			return result, &w, tx.UpdateWindow(&w)
		}
	}
	result, err = deleteMissing(tx, &w, coll, g, now)
	return result, nil, err
}

// ConfirmWindow carries out the deletes of a window that is held, less the
// records that were touched since. Errors: conflict when it is not held any more.
func ConfirmWindow(tx store.Tx, env, windowID int64, g Guard, now time.Time) (syncline.DeleteWindow, syncline.ModelResult, error) {
	w, coll, err := lockHeld(tx, env, windowID)
	if err != nil {
		return w, syncline.ModelResult{}, err
	}
	result, err := deleteMissing(tx, &w, coll, g, now)
	return w, result, err
}

// DiscardWindow gives up the deletes of a window that is held: the records stay.
// Errors: conflict when it is not held any more.
func DiscardWindow(tx store.Tx, env, windowID int64, now time.Time) (syncline.DeleteWindow, error) {
	w, _, err := lockHeld(tx, env, windowID)
	if err != nil {
		return w, err
	}
	w.State, w.ClosedAt = syncline.WindowClosed, now
	return w, tx.UpdateWindow(&w)
}

// CloseWindows gives up the windows of a collection, open and held. It is for a
// reset: what was seen before it says nothing of what comes.
func CloseWindows(tx store.Tx, env, collectionID int64, now time.Time) error {
	coll, err := tx.LockCollection(env, collectionID)
	if err != nil || coll.WindowID == 0 {
		return err
	}
	w, err := tx.DeleteWindow(env, coll.WindowID)
	if err != nil {
		return err
	}
	if err := discardHeld(tx, &w, now); err != nil {
		return err
	}
	w.State, w.ClosedAt = syncline.WindowClosed, now
	return tx.UpdateWindow(&w)
}

func lockWindow(tx store.Tx, env, id int64) (w syncline.DeleteWindow, coll syncline.Collection, err error) {
	if w, err = tx.DeleteWindow(env, id); err != nil {
		return w, coll, err
	}
	if coll, err = tx.LockCollection(env, w.CollectionID); err != nil {
		return w, coll, err
	}
	w, err = tx.DeleteWindow(env, id) // as it is under the lock
	return w, coll, err
}

func lockHeld(tx store.Tx, env, id int64) (syncline.DeleteWindow, syncline.Collection, error) {
	w, coll, err := lockWindow(tx, env, id)
	if err == nil && w.State != syncline.WindowHeld {
		err = syncline.Errorf(syncline.CodeConflict, "the deletes %d are not held any more: they were confirmed, discarded, or overtaken by a later poll", id).
			WithHint("list what is held now")
	}
	return w, coll, err
}

// discardHeld closes the windows of w's collection that are held, except w.
func discardHeld(tx store.Tx, w *syncline.DeleteWindow, now time.Time) error {
	for offset := 0; ; {
		held, err := tx.HeldWindows(w.EnvironmentID, store.Page{Limit: heldPage, Offset: offset})
		if err != nil {
			return err
		}
		for _, h := range held {
			if h.CollectionID != w.CollectionID || h.ID == w.ID {
				offset++
				continue
			}
			h.State, h.ClosedAt = syncline.WindowClosed, now
			if err := tx.UpdateWindow(&h); err != nil {
				return err
			}
		}
		if len(held) < heldPage {
			return nil
		}
	}
}

const heldPage = 1000

// missingFrom selects what a window did not see.
func missingFrom(w *syncline.DeleteWindow) store.RecordQuery {
	return store.RecordQuery{Until: w.StartSeq, UntouchedBy: w.ID}
}

// deletePage is how many records are deleted with one write.
const deletePage = 1000

func deleteMissing(tx store.Tx, w *syncline.DeleteWindow, coll syncline.Collection, g Guard, now time.Time) (result syncline.ModelResult, err error) {
	q := missingFrom(w)
	q.Limit = deletePage
	for {
		wr := newWriting(Target{EnvironmentID: w.EnvironmentID, ConnectionID: coll.ConnectionID, Model: coll.Model}, coll, g, now)
		wr.rows = map[string]*syncline.Record{}
		var page []*syncline.Record
		if err := tx.ScanRecords(w.EnvironmentID, coll.ID, q, func(r *syncline.Record) bool {
			page = append(page, r)
			return true
		}); err != nil {
			return result, err
		}
		for _, r := range page {
			fields, err := readFieldVersions(r.FieldVersions)
			if err != nil {
				return result, err
			}
			version, err := fields.newest(r.Version, everywhere)
			if err != nil {
				return result, fmt.Errorf("record %s: %w", r.ID, err)
			}
			wr.rows[r.ID] = r
			q.After = r.Seq
			wr.take(r.ID, Decision{Outcome: Deleted, Payload: r.Payload, Hash: r.Hash, Version: version})
		}
		if err := wr.put(tx); err != nil {
			return result, err
		}
		result = result.Add(wr.result)
		if len(page) < deletePage {
			break
		}
		coll.LastModifiedAt = wr.now
	}
	w.State, w.ClosedAt = syncline.WindowClosed, now
	return result, tx.UpdateWindow(w)
}
