package sealed_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"syncline"
	"syncline/internal/secret"
	"syncline/internal/store"
	"syncline/internal/store/mem"
	"syncline/internal/store/sealed"
	"syncline/internal/store/sqlite"
	"syncline/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engines open the stores that are decorated.
var engines = map[string]func(t *testing.T) store.Store{
	"mem": func(t *testing.T) store.Store {
		s := mem.New(nil)
		t.Cleanup(func() { s.Close() })
		return s
	},
	"sqlite": func(t *testing.T) store.Store {
		s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), sqlite.Options{ReadConns: 3})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	},
}

// sealer has keys of these bytes, the first of which seals.
func sealer(t *testing.T, keys ...byte) *secret.Bound {
	t.Helper()
	var list [][]byte
	for _, k := range keys {
		list = append(list, bytes.Repeat([]byte{k}, secret.KeySize))
	}
	s, err := secret.New(list...)
	if err != nil {
		t.Fatal(err)
	}
	return s.Bound(secret.PurposeRecordPayload)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		engine string
		seal   bool
	}{{"mem", true}, {"mem", false}, {"sqlite", true}} {
		t.Run(fmt.Sprintf("%s, sealing %t", c.engine, c.seal), func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) store.Store {
				return sealed.New(engines[c.engine](t), sealer(t, 1), c.seal)
			}, storetest.SealsPayloads)
		})
	}
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// cache is a store with a collection, below and through decorators.
type cache struct {
	*testing.T
	below     store.Store
	env, coll int64
}

func newCache(t *testing.T, open func(t *testing.T) store.Store) *cache {
	t.Helper()
	c := &cache{T: t, below: open(t)}
	c.update(c.below, func(tx store.Tx) error {
		env := syncline.Environment{Name: "dev"}
		if err := tx.CreateEnvironment(&env); err != nil {
			return err
		}
		i := syncline.Integration{EnvironmentID: env.ID, UniqueKey: "github", Provider: "github"}
		if err := tx.CreateIntegration(&i); err != nil {
			return err
		}
		k := syncline.Connection{EnvironmentID: env.ID, IntegrationID: i.ID, ConnectionID: "c1"}
		if err := tx.CreateConnection(&k); err != nil {
			return err
		}
		var err error
		c.env = env.ID
		c.coll, err = tx.EnsureCollection(env.ID, k.ID, "Issue", start)
		return err
	})
	return c
}

func (c *cache) update(s store.Store, fn func(tx store.Tx) error) {
	c.Helper()
	if err := s.Update(c.Context(), store.Durable, fn); err != nil {
		c.Fatal(err)
	}
}

// record has a payload that gives its text away.
func record(id, text string) *syncline.Record {
	return &syncline.Record{ID: id, Hash: []byte("hash of " + text), Payload: json.RawMessage(fmt.Sprintf(`{"id":%q,"text":%q}`, id, text)),
		FirstSeenAt: start, LastModifiedAt: start, LastAction: syncline.ActionUpdated, Version: "n1"}
}

// put writes records at new positions.
func put(tx store.Tx, env, coll int64, list ...*syncline.Record) error {
	if _, err := tx.LockCollection(env, coll); err != nil {
		return err
	}
	seq, err := tx.NextSeq(len(list))
	for i, r := range list {
		r.CollectionID, r.Seq = coll, seq+int64(i)
	}
	if err != nil {
		return err
	}
	return tx.PutRecords(env, coll, list)
}

func (c *cache) put(s store.Store, list ...*syncline.Record) {
	c.Helper()
	c.update(s, func(tx store.Tx) error { return put(tx, c.env, c.coll, list...) })
}

// all reads the records in order.
func (c *cache) all(s store.Store) (list []*syncline.Record) {
	c.Helper()
	err := s.View(c.Context(), func(r store.Reader) error {
		return r.ScanRecords(c.env, c.coll, store.RecordQuery{}, func(rec *syncline.Record) bool {
			list = append(list, rec)
			return true
		})
	})
	if err != nil {
		c.Fatal(err)
	}
	return list
}

// history reads the superseded versions of a record.
func (c *cache) history(s store.Store, id string) (list []syncline.Superseded) {
	c.Helper()
	err := s.View(c.Context(), func(r store.Reader) (err error) {
		list, err = r.History(c.env, c.coll, id, 0, 0)
		return err
	})
	if err != nil {
		c.Fatal(err)
	}
	return list
}

func each(t *testing.T, run func(t *testing.T, c *cache)) {
	t.Helper()
	for name, open := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, newCache(t, open))
		})
	}
}

func TestPayloadsAreSealedBelowAndPlainAbove(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		key := sealer(t, 1)
		s := sealed.New(c.below, key, true)
		const text = "Ada Lovelace"
		plain := record("1", text)
		pruned, marker := record("2", text), record("3", text)
		pruned.Payload, pruned.PrunedAt = nil, start
		marker.Payload, marker.LastAction, marker.DeletedAt = nil, "", start
		mine := []*syncline.Record{plain, pruned, marker}
		c.put(s, mine...)
		if string(plain.Payload) != `{"id":"1","text":"Ada Lovelace"}` || plain.PayloadKeyID != "" || mine[0] != plain {
			t.Errorf("the caller's record was changed: %+v", plain)
		}
		version := &syncline.Superseded{Record: *record("1", text+" of old"), At: start.Add(time.Second)}
		version.Seq, version.CollectionID = 1, c.coll
		restated := *plain
		restated.Version = "n2"
		c.update(s, func(tx store.Tx) error {
			versions := []*syncline.Superseded{version}
			if err := tx.PutHistory(c.env, c.coll, versions); err != nil {
				return err
			}
			if versions[0] != version || version.PayloadKeyID != "" || !bytes.Contains(version.Payload, []byte(text)) {
				t.Errorf("the caller's version was changed: %+v", version)
			}
			if err := tx.RestateRecords(c.env, c.coll, []*syncline.Record{&restated}); err != nil {
				return err
			}
			// A transaction reads its own writes in plain text.
			found, err := tx.RecordsByID(c.env, c.coll, []string{"1"})
			if diff := cmp.Diff(&restated, found["1"]); diff != "" {
				t.Error(diff)
			}
			return err
		})

		// Below: nothing of the text, in no reading.
		below := append(c.all(c.below), &c.history(c.below, "1")[0].Record)
		err := c.below.View(t.Context(), func(r store.Reader) error {
			return r.ScanAsOf(c.env, c.coll, start, "", 0, func(rec *syncline.Record) bool {
				below = append(below, rec)
				return true
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		sealedOnes := 0
		for _, rec := range below {
			if bytes.Contains(rec.Payload, []byte("Ada")) || (len(rec.Payload) > 0) != (rec.PayloadKeyID == key.KeyID()) {
				t.Errorf("below: %+v", rec)
			}
			if rec.PayloadKeyID != "" {
				sealedOnes++
			}
			if string(rec.Hash) == "" || rec.LastAction == "" {
				t.Errorf("what is searched by is not there: %+v", rec)
			}
		}
		if len(below) != 6 || sealedOnes != 4 { // 1 and 2, the version of 1, and 1, its version and 2 as of then
			t.Errorf("%d read below, %d of them sealed", len(below), sealedOnes)
		}

		// Above: everything as it was.
		if diff := cmp.Diff([]*syncline.Record{&restated, pruned}, c.all(s)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]syncline.Superseded{*version}, c.history(s, "1")); diff != "" {
			t.Error(diff)
		}
		err = s.View(t.Context(), func(r store.Reader) error {
			heads, err := r.RecordHeads(c.env, c.coll, []string{"1", "3"})
			if err != nil {
				return err
			}
			head := restated
			head.Payload = nil
			if diff := cmp.Diff(map[string]*syncline.Record{"1": &head, "3": marker}, heads); diff != "" {
				t.Error(diff)
			}
			texts := ""
			err = r.ScanAsOf(c.env, c.coll, start, "", 0, func(rec *syncline.Record) bool {
				texts += string(rec.Payload) + rec.PayloadKeyID
				return true
			})
			if err != nil || strings.Count(texts, text) != 2 {
				t.Errorf("as of then: %s, %v", texts, err)
			}
			raw, err := r.ForeignPayloads(c.env, c.coll, "another", 0, 0)
			if len(raw) != 1 || raw[0].PayloadKeyID != key.KeyID() || bytes.Contains(raw[0].Payload, []byte("Ada")) {
				t.Errorf("payloads as they are stored: %+v", raw)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestWhatWasSealedOpensAlsoWhenNothingIsSealedAnyMore(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		key := sealer(t, 1)
		off := sealed.New(c.below, key, false)
		old, fresh := record("1", "old"), record("2", "fresh")
		c.put(sealed.New(c.below, key, true), old)
		c.put(off, fresh)
		if diff := cmp.Diff([]*syncline.Record{old, fresh}, c.all(off)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(fresh, c.all(c.below)[1]); diff != "" {
			t.Errorf("it is not stored as it is: %s", diff)
		}
	})
}

func TestAPayloadOpensOnlyInItsOwnRow(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		s := sealed.New(c.below, sealer(t, 1), true)
		c.put(s, record("1", "Ada"), record("2", "Bob"))
		stored := c.all(c.below)
		old := *stored[0]
		refused := func(what string, restated ...syncline.Record) {
			t.Helper()
			c.update(c.below, func(tx store.Tx) error {
				for i := range restated {
					if err := tx.RestateRecords(c.env, c.coll, []*syncline.Record{&restated[i]}); err != nil {
						return err
					}
				}
				return nil
			})
			err := s.View(t.Context(), func(r store.Reader) error {
				_, err := r.RecordsByID(c.env, c.coll, []string{"1"})
				return err
			})
			if syncline.CodeOf(err) != syncline.CodeInternal || !strings.Contains(err.Error(), `record "1"`) || !strings.Contains(err.Error(), old.PayloadKeyID) {
				t.Errorf("%s: %v", what, err)
			}
			err = s.View(t.Context(), func(r store.Reader) error {
				return r.ScanRecords(c.env, c.coll, store.RecordQuery{}, func(rec *syncline.Record) bool {
					if rec.ID == "1" {
						t.Errorf("%s: read as %s", what, rec.Payload)
					}
					return true
				})
			})
			if err == nil {
				t.Errorf("%s: a scan does not tell", what)
			}
		}
		swapped := old
		swapped.Payload = stored[1].Payload
		refused("another record's payload", swapped)
		c.put(s, record("1", "Ada of Lovelace"))
		rolledBack := *c.all(c.below)[1]
		rolledBack.Payload = old.Payload
		refused("the payload of an older version", rolledBack)
		cut := old
		cut.Payload = cut.Payload[:10]
		refused("a part of it", cut)
		renamed := old
		renamed.PayloadKeyID = strings.Repeat("0", 16)
		c.update(c.below, func(tx store.Tx) error {
			return tx.RestateRecords(c.env, c.coll, []*syncline.Record{&renamed})
		})
		err := s.View(t.Context(), func(r store.Reader) error {
			_, err := r.RecordsByID(c.env, c.coll, []string{"1"})
			return err
		})
		if err == nil || !strings.Contains(err.Error(), `"0000000000000000", which is not configured`) {
			t.Errorf("under the name of another key: %v", err)
		}
	})
}

func TestAnotherEnvironmentOrCollectionOpensNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		s := sealed.New(c.below, sealer(t, 1), true)
		c.put(s, record("1", "Ada"))
		stolen := *c.all(c.below)[0]
		var other int64
		c.update(c.below, func(tx store.Tx) (err error) {
			coll, err := tx.CollectionByID(c.env, c.coll)
			if err != nil {
				return err
			}
			if other, err = tx.EnsureCollection(c.env, coll.ConnectionID, "Comment", start); err != nil {
				return err
			}
			return tx.RestateRecords(c.env, other, []*syncline.Record{&stolen})
		})
		err := s.View(t.Context(), func(r store.Reader) error {
			return r.ScanRecords(c.env, other, store.RecordQuery{}, func(rec *syncline.Record) bool {
				t.Errorf("read as %s", rec.Payload)
				return true
			})
		})
		if err == nil {
			t.Error("no error")
		}
	})
}

func TestAKeyThatIsGoneIsNamed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		old := sealer(t, 1)
		c.put(sealed.New(c.below, old, true), record("1", "Ada"))
		c.update(sealed.New(c.below, old, true), func(tx store.Tx) error {
			return tx.PutHistory(c.env, c.coll, []*syncline.Superseded{{Record: *record("1", "of old"), At: start.Add(time.Second)}})
		})
		s := sealed.New(c.below, sealer(t, 2), true)
		for name, read := range map[string]func(r store.Reader) error{
			"by id": func(r store.Reader) error {
				_, err := r.RecordsByID(c.env, c.coll, []string{"1"})
				return err
			},
			"scan": func(r store.Reader) error {
				return r.ScanRecords(c.env, c.coll, store.RecordQuery{}, func(*syncline.Record) bool { return true })
			},
			"history": func(r store.Reader) error {
				_, err := r.History(c.env, c.coll, "1", 0, 0)
				return err
			},
			"as of": func(r store.Reader) error {
				return r.ScanAsOf(c.env, c.coll, start, "", 0, func(*syncline.Record) bool { return true })
			},
		} {
			err := s.View(t.Context(), read)
			for _, want := range []string{old.KeyID(), "not configured", "reset the sync"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v does not say %q", name, err, want)
				}
			}
		}
		// Heads need no key, so that the record can be saved anew.
		err := s.View(t.Context(), func(r store.Reader) error {
			_, err := r.RecordHeads(c.env, c.coll, []string{"1"})
			return err
		})
		if err != nil {
			t.Error(err)
		}
		c.put(s, record("1", "Ada again"))
		if got := c.all(s); len(got) != 1 || !strings.Contains(string(got[0].Payload), "Ada again") {
			t.Errorf("%+v", got)
		}
	})
}

func TestAPayloadThatIsSealedAlreadyIsNotWritten(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		for _, seal := range []bool{true, false} {
			s := sealed.New(c.below, sealer(t, 1), seal)
			r := record("1", "Ada")
			r.Seq, r.PayloadKeyID = 1, "k"
			for name, write := range map[string]func(tx store.Tx) error{
				"put":     func(tx store.Tx) error { return put(tx, c.env, c.coll, r) },
				"restate": func(tx store.Tx) error { return tx.RestateRecords(c.env, c.coll, []*syncline.Record{r}) },
				"history": func(tx store.Tx) error {
					return tx.PutHistory(c.env, c.coll, []*syncline.Superseded{{Record: *r}})
				},
			} {
				if err := s.Update(t.Context(), store.Durable, write); syncline.CodeOf(err) != syncline.CodeInternal {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	})
}
