// Package sealed keeps the payloads of records encrypted at rest, on any main
// store: a decorator that seals them when they are written and opens them when
// they are read, so that nobody else knows of it. It owns which payloads are
// sealed, and the move from one key to the next ([Rotator]). What a key is and
// where keys are kept it must not know.
//
// Sealed are the payloads of records, and of their superseded versions. What the
// store orders and searches by stays plain: external ids, positions, times, last
// actions, writers; so do a record's hash, by which changes are found (who has
// the database can tell whether a payload is one that they guess), and the
// versions that keep_newest compares (Version, FieldVersions: a JSON object of
// field names and their versions or times).
//
// A sealed payload is bound to its environment, collection, external id and
// position: moved to another row, or put back after the record has changed, it
// does not open.
//
// The decorator is always there, also when payloads are not to be sealed: what
// was sealed before is still opened.
package sealed

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"syncline"
	"syncline/internal/store"
)

// Sealer seals and opens payloads. It is safe for concurrent use and does no
// I/O: it is called within transactions.
type Sealer interface {
	// KeyID is the id of the key that seals now.
	KeyID() string
	// HasKey reports whether what was sealed with the key of this id can be opened.
	HasKey(id string) bool
	// Seal encrypts plain for a place in an environment.
	Seal(env int64, place, plain []byte) (keyID string, sealed []byte, err error)
	// Open decrypts what was sealed for the same place.
	Open(env int64, keyID string, place, sealed []byte) (plain []byte, err error)
}

// Store is a main store whose payloads are sealed.
type Store struct {
	store.Store // what keeps them
	vault       vault
}

var _ store.Store = (*Store)(nil)

// New returns s with its payloads sealed by sealer: those that are written from
// now on when seal is true, none when it is false. Payloads that are sealed are
// opened either way.
func New(s store.Store, sealer Sealer, seal bool) *Store {
	return &Store{Store: s, vault: vault{sealer: sealer, seal: seal}}
}

// Update runs fn as the store below does.
func (s *Store) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	return s.Store.Update(ctx, d, func(t store.Tx) error {
		return fn(&tx{reader: reader{Reader: t, vault: &s.vault}, writer: t})
	})
}

// View runs fn as the store below does.
func (s *Store) View(ctx context.Context, fn func(r store.Reader) error) error {
	return s.Store.View(ctx, func(r store.Reader) error {
		return fn(&reader{Reader: r, vault: &s.vault})
	})
}

// vault seals and opens records.
type vault struct {
	sealer Sealer
	seal   bool
}

// keyID is the id of the key that payloads are to be sealed with; "": none.
func (v *vault) keyID() string {
	if !v.seal {
		return ""
	}
	return v.sealer.KeyID()
}

// placeOf names the version of a record that a payload belongs to. The id, whose
// length is not fixed, comes last.
func placeOf(collectionID int64, r *syncline.Record) []byte {
	b := make([]byte, 0, 16+len(r.ID))
	b = binary.BigEndian.AppendUint64(b, uint64(collectionID))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Seq))
	return append(b, r.ID...)
}

// close seals the payload of a record that is the vault's own.
func (v *vault) close(env, collectionID int64, r *syncline.Record) error {
	if r.PayloadKeyID != "" {
		return syncline.Errorf(syncline.CodeInternal, "record %q is written with the id of a key, %q: its payload must be plain, and the id empty", r.ID, r.PayloadKeyID)
	}
	if !v.seal || len(r.Payload) == 0 {
		return nil
	}
	keyID, sealed, err := v.sealer.Seal(env, placeOf(collectionID, r), r.Payload)
	if err != nil {
		return syncline.Errorf(syncline.CodeOf(err), "seal the payload of record %q: %w", r.ID, err)
	}
	r.PayloadKeyID, r.Payload = keyID, sealed
	return nil
}

// open opens the payload of a record that is the vault's own.
func (v *vault) open(env, collectionID int64, r *syncline.Record) error {
	keyID := r.PayloadKeyID
	if keyID == "" {
		return nil
	}
	if len(r.Payload) == 0 {
		r.PayloadKeyID = ""
		return nil
	}
	if !v.sealer.HasKey(keyID) {
		return syncline.Errorf(syncline.CodeInternal, "the payload of record %q (collection %d) is sealed with key %q, which is not configured", r.ID, collectionID, keyID).
			WithHint("add that key after the one that seals; without it, reset the sync and empty its cache, so that its records are fetched again")
	}
	plain, err := v.sealer.Open(env, keyID, placeOf(collectionID, r), r.Payload)
	if err != nil {
		return syncline.Errorf(syncline.CodeOf(err), "the payload of record %q (collection %d, position %d), sealed with key %q, cannot be opened: it was changed, or it belongs to another record or version: %w",
			r.ID, collectionID, r.Seq, keyID, withoutHint(err)).WithHint("restore it from a backup, or reset the sync and empty its cache, so that its records are fetched again")
	}
	r.PayloadKeyID, r.Payload = "", plain
	return nil
}

// withoutHint is err without what it says to do: that is not of records.
func withoutHint(err error) error {
	var e *syncline.Error
	if !errors.As(err, &e) || e.Hint == "" {
		return err
	}
	bare := *e
	bare.Hint = ""
	return &bare
}

// closed returns copies of records with their payloads sealed; the records
// themselves where nothing is.
func (v *vault) closed(env, collectionID int64, records []*syncline.Record) ([]*syncline.Record, error) {
	if !v.seal && !slices.ContainsFunc(records, func(r *syncline.Record) bool { return r.PayloadKeyID != "" }) {
		return records, nil
	}
	out := slices.Clone(records)
	for i, r := range records {
		own := *r
		if err := v.close(env, collectionID, &own); err != nil {
			return nil, err
		}
		out[i] = &own
	}
	return out, nil
}
