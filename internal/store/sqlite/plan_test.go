package sqlite

import (
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"syncline/internal/store"
	"syncline/internal/store/storetest"
)

// TestEveryStatementUsesAnIndex runs the suite, takes the statements that it
// left prepared, and asks SQLite how it runs each.
func TestEveryStatementUsesAnIndex(t *testing.T) {
	var mu sync.Mutex
	statements := map[string]bool{}
	note := func(c *conn) {
		mu.Lock()
		defer mu.Unlock()
		for sql := range c.stmts {
			statements[sql] = true
		}
	}
	t.Run("suite", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) store.Store {
			s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), Options{ReadConns: 1})
			if err != nil {
				t.Fatal(err)
			}
			writer, reader := s.writer.c, <-s.readers.free
			s.readers.free <- reader
			t.Cleanup(func() {
				if !s.writer.isClosed() {
					c := <-s.readers.free
					note(c)
					s.readers.free <- c
					s.Update(t.Context(), store.Relaxed, func(store.Tx) error { note(writer); return nil })
				}
				s.Close()
			})
			return s
		})
	})

	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// These few are small, or meant to be read whole.
	whole := regexp.MustCompile(`^SCAN (environments|functions|f|tag|json_each)\b`)
	explained := 0
	for sql := range statements {
		if !regexp.MustCompile(`^(SELECT|UPDATE|DELETE|INSERT)`).MatchString(sql) {
			continue
		}
		explained++
		var plan []string
		c := <-s.readers.free
		err := c.query("EXPLAIN QUERY PLAN "+sql, func(r *row) error {
			r.int64()
			r.int64()
			r.int64()
			plan = append(plan, r.text())
			return nil
		}, make([]any, 300)...)
		s.readers.free <- c
		if err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		for _, step := range plan {
			scan := strings.HasPrefix(step, "SCAN ") && !strings.Contains(step, "USING") && !strings.Contains(step, "CONSTANT ROW") && !whole.MatchString(step)
			sort := strings.Contains(step, "TEMP B-TREE FOR ORDER BY") && !strings.Contains(sql, "FROM functions") && !strings.Contains(sql, "sync_instances")
			if (scan && !strings.HasPrefix(step, "SCAN (")) || sort {
				t.Errorf("%s\n  in: %s", step, strings.Join(plan, "\n      "))
				t.Log(sql)
			}
		}
	}
	if explained < 80 {
		t.Errorf("only %d statements were seen", explained)
	}
}
