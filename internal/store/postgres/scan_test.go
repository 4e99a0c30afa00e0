package postgres

import (
	"bytes"
	"fmt"
	"testing"

	"syncline"
	"syncline/internal/store"
)

// Records of which few fit into a page of the scan come all the same, each
// once and in order.
func TestLargeRecordsAreScanned(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	var env, coll int64
	err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
		c, err := sample(tx)
		if err != nil {
			return err
		}
		env = c.EnvironmentID
		if coll, err = tx.EnsureCollection(env, c.ID, "Issue", start); err != nil {
			return err
		}
		seq, err := tx.NextSeq(50)
		if err != nil {
			return err
		}
		list := make([]*syncline.Record, 50)
		for i := range list {
			size := 10
			if i < 10 || i > 40 {
				size = 1 << 20
			}
			list[i] = &syncline.Record{ID: fmt.Sprint(i), Seq: seq + int64(i), Payload: bytes.Repeat([]byte("x"), size), FirstSeenAt: start, LastModifiedAt: start, LastAction: syncline.ActionAdded}
		}
		return tx.PutRecords(env, coll, list)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{0, 1, 4, 5, 32, 49, 50, 60} {
		n := 0
		err := s.View(t.Context(), func(r store.Reader) error {
			return r.ScanRecords(env, coll, store.RecordQuery{Limit: limit}, func(rec *syncline.Record) bool {
				if rec.ID != fmt.Sprint(n) {
					t.Errorf("limit %d: %s comes as number %d", limit, rec.ID, n)
				}
				n++
				return true
			})
		})
		want := 50
		if limit > 0 {
			want = min(limit, 50)
		}
		if err != nil || n != want {
			t.Errorf("limit %d: %d records, %v", limit, n, err)
		}
	}
}
