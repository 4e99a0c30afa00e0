package storetest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

// awkward are texts that people and APIs use as ids and names.
var awkward = map[string]string{
	"unicode":          "Zażółć gęślą jaźń 日本語 🦫",
	"combining":        "e\u0301 is not \u00e9",
	"quotes":           `it's "quoted" \ and ; -- DROP TABLE records; /*`,
	"percent":          "100%_of?",
	"newlines":         "a\r\n\tb",
	"NUL":              "before\x00after",
	"empty":            "",
	"spaces":           "  ",
	"digits":           "00042",
	"looks like null":  "NULL",
	"looks like JSON":  `{"a":[1]}`,
	"right to left":    "\u202eabc\u202c",
	"long":             strings.Repeat("long-", 20_000),
	"control":          "\x01\x1f\x7f",
	"private use":      "\ue000\U0010fffd",
	"case":             "CaSe",
	"case, other":      "case",
	"trailing space":   "x ",
	"without trailing": "x",
}

var valueTests = []test{
	{"awkward texts come back as they are, and are told apart", func(t *testing.T, w *world) {
		var id int64
		var ids []string
		for _, text := range awkward {
			ids = append(ids, text)
		}
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			w.put(tx, id, start, syncline.ActionAdded, ids...)
			for _, text := range awkward {
				w.newConnection(tx, "connection "+text)
				w.collection(tx, text)
			}
			return nil
		})
		found := w.byID(id, ids...)
		listed := scan(w, id, store.RecordQuery{})
		same(t, "order", listed, ids)
		for name, text := range awkward {
			t.Run(name, func(t *testing.T) {
				if r := found[text]; r == nil || r.ID != text || string(r.Payload) != `{"id":"`+text+`"}` {
					t.Errorf("record %+v", r)
				}
				w.view(func(r store.Reader) error {
					c, err := r.ConnectionByKey(w.env.ID, w.integration.ID, "connection "+text)
					if err == nil && c.ConnectionID != "connection "+text {
						t.Errorf("connection %q", c.ConnectionID)
					}
					return err
				})
				if c := w.getCollection(text); c.Model != text {
					t.Errorf("model %q", c.Model)
				}
				e := syncline.Event{EnvironmentID: w.env.ID, LaneID: w.instance.ID, Type: text, OrderKey: text, DeliveryID: text, LastError: text,
					Status: syncline.EventPending, UpdatedAt: start}
				w.update(func(tx store.Tx) error { return tx.AppendEvents([]*syncline.Event{&e}) })
				same(t, "event", read(w, func(r store.Reader) (syncline.Event, error) { return r.Event(w.env.ID, e.ID) }), e)
			})
		}
	}},
	{"times come back with their microseconds, in UTC, from long ago to far ahead", func(t *testing.T, w *world) {
		zone := time.FixedZone("somewhere", 5*3600+1800)
		for _, at := range []time.Time{
			{}, start, start.In(zone), time.Date(1901, 2, 3, 4, 5, 6, 789000, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999999000, time.UTC),
			time.UnixMicro(0), time.UnixMicro(1), time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC),
		} {
			d := syncline.DeliveryState{Position: 1, EnvironmentID: w.env.ID, Status: syncline.DeliveryIgnored, ReceivedAt: at, UpdatedAt: start}
			w.update(func(tx store.Tx) error { return tx.PutDeliveryState(&d) })
			got := w.getDelivery(1).ReceivedAt
			if !got.Equal(at) || got.IsZero() != at.IsZero() || got.Location() != time.UTC {
				t.Errorf("%v came back as %v", at, got)
			}
		}
	}},
	{"a large payload and large JSON come back byte for byte", func(t *testing.T, w *world) {
		payload := json.RawMessage(`{"id":"big", "n": 1.50, "text":"` + strings.Repeat("é", 5<<20) + `"}`)
		var id int64
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			seq, err := tx.NextSeq(1)
			w.ok(err)
			return tx.PutRecords(w.env.ID, id, []*syncline.Record{{ID: "big", Seq: seq, Payload: payload, LastModifiedAt: start, LastAction: syncline.ActionAdded}})
		})
		if got := w.byID(id, "big")["big"].Payload; string(got) != string(payload) {
			t.Errorf("%d bytes came back of %d", len(got), len(payload))
		}
		checkpoint := json.RawMessage("{\"cursor\" :  1e3}")
		w.update(func(tx store.Tx) error {
			w.instance.PollCheckpoint = checkpoint
			return tx.UpdateInstance(&w.instance)
		})
		if got := w.getInstance(w.instance.ID).PollCheckpoint; string(got) != string(checkpoint) {
			t.Errorf("checkpoint %s", got)
		}
	}},
	{"payloads that are not UTF-8 come back byte for byte", func(t *testing.T, w *world) {
		sealed := syncline.Sealed{KeyID: "k", Data: []byte{0, 0xff, 0xfe, 0, 1}}
		w.update(func(tx store.Tx) error {
			w.integration.Credentials, w.integration.WebhookSecrets = sealed, syncline.Sealed{}
			return tx.UpdateIntegration(&w.integration)
		})
		got := read(w, func(r store.Reader) (syncline.Integration, error) { return r.Integration(w.env.ID, w.integration.ID) })
		same(t, "sealed", got.Credentials, sealed)
		if !got.WebhookSecrets.IsZero() {
			t.Errorf("no secret came back as %+v", got.WebhookSecrets)
		}
	}},
	{"listings are bounded to 100 unless they ask for more", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error {
			for range 120 {
				w.newRun(tx, syncline.Run{Kind: syncline.RunPoll, Status: syncline.RunRunning})
			}
			return nil
		})
		for limit, want := range map[int]int{0: 100, 110: 110, 1_000_000: 120} {
			got := read(w, func(r store.Reader) ([]syncline.Run, error) {
				return r.Runs(w.env.ID, store.RunFilter{Page: store.Page{Limit: limit}})
			})
			if len(got) != want {
				t.Errorf("limit %d: %d runs", limit, len(got))
			}
		}
	}},
}
