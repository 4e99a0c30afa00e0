package sealed

import (
	"slices"
	"time"

	"syncline"
	"syncline/internal/store"
)

// reader opens the payloads of what it reads. ForeignPayloads alone gives them
// as they are stored.
type reader struct {
	store.Reader
	vault *vault
}

func (r *reader) RecordsByID(env, collectionID int64, ids []string) (map[string]*syncline.Record, error) {
	found, err := r.Reader.RecordsByID(env, collectionID, ids)
	if err != nil {
		return nil, err
	}
	for _, rec := range found {
		if err := r.vault.open(env, collectionID, rec); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// RecordHeads gives no key ids: those who put a record back with another payload
// do not know of them.
func (r *reader) RecordHeads(env, collectionID int64, ids []string) (map[string]*syncline.Record, error) {
	found, err := r.Reader.RecordHeads(env, collectionID, ids)
	for _, rec := range found {
		rec.PayloadKeyID = ""
	}
	return found, err
}

func (r *reader) ScanRecords(env, collectionID int64, q store.RecordQuery, fn func(*syncline.Record) bool) error {
	each, failed := r.opening(env, collectionID, fn)
	if err := r.Reader.ScanRecords(env, collectionID, q, each); err != nil {
		return err
	}
	return *failed
}

func (r *reader) ScanAsOf(env, collectionID int64, at time.Time, afterID string, limit int, fn func(*syncline.Record) bool) error {
	each, failed := r.opening(env, collectionID, fn)
	if err := r.Reader.ScanAsOf(env, collectionID, at, afterID, limit, each); err != nil {
		return err
	}
	return *failed
}

// opening is fn for records that are opened first. One that does not open ends
// the scan; its error is in failed then.
func (r *reader) opening(env, collectionID int64, fn func(*syncline.Record) bool) (each func(*syncline.Record) bool, failed *error) {
	failed = new(error)
	return func(rec *syncline.Record) bool {
		*failed = r.vault.open(env, collectionID, rec)
		return *failed == nil && fn(rec)
	}, failed
}

func (r *reader) History(env, collectionID int64, id string, before int64, limit int) ([]syncline.Superseded, error) {
	list, err := r.Reader.History(env, collectionID, id, before, limit)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if err := r.vault.open(env, collectionID, &list[i].Record); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// writer is what a transaction has beyond a reader.
type writer interface {
	store.EnvironmentWriter
	store.IntegrationWriter
	store.ConnectionWriter
	store.FunctionWriter
	store.InstanceWriter
	store.DeliveryWriter
	store.LaneWriter
	store.RunWriter
	store.RecordWriter
	store.NotificationWriter
	store.VariableWriter
	store.LockWriter
	store.JobWriter
	store.CheckpointWriter
	store.Housekeeping
}

// tx seals the payloads of what it writes.
type tx struct {
	reader
	writer
}

var _ store.Tx = (*tx)(nil)

func (t *tx) PutRecords(env, collectionID int64, records []*syncline.Record) error {
	records, err := t.vault.closed(env, collectionID, records)
	if err != nil {
		return err
	}
	return t.writer.PutRecords(env, collectionID, records)
}

func (t *tx) RestateRecords(env, collectionID int64, records []*syncline.Record) error {
	records, err := t.vault.closed(env, collectionID, records)
	if err != nil {
		return err
	}
	return t.writer.RestateRecords(env, collectionID, records)
}

func (t *tx) PutHistory(env, collectionID int64, versions []*syncline.Superseded) error {
	versions = slices.Clone(versions)
	for i, v := range versions {
		own := *v
		if err := t.vault.close(env, collectionID, &own.Record); err != nil {
			return err
		}
		versions[i] = &own
	}
	return t.writer.PutHistory(env, collectionID, versions)
}
