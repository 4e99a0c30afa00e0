package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"syncline/internal/store"
	"syncline/internal/store/postgres/pgtest"
	"syncline/internal/store/storetest"
)

// statements notes what is run.
type statements struct {
	mu  sync.Mutex
	sql map[string]bool
}

func (s *statements) note(sql string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sql[sql] = true
}

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.note(data.SQL)
	return ctx
}
func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (s *statements) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	for _, q := range data.Batch.QueuedQueries {
		s.note(q.SQL)
	}
	return ctx
}
func (s *statements) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (s *statements) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// plan is a node of EXPLAIN's answer.
type plan struct {
	Type     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Cond     string `json:"Index Cond"`
	Plans    []plan
}

func (p plan) String() string {
	s := p.Type
	if p.Relation+p.Index != "" {
		s += " " + p.Relation + " " + p.Index
	}
	if p.Cond != "" {
		s += " " + p.Cond
	}
	for _, c := range p.Plans {
		s += "\n" + regexp.MustCompile(`(?m)^`).ReplaceAllString(c.String(), "  ")
	}
	return s
}

func (p plan) walk(fn func(p plan)) {
	fn(p)
	for _, c := range p.Plans {
		c.walk(fn)
	}
}

// TestEveryStatementUsesAnIndex runs the suite, notes its statements, and asks
// Postgres how it runs each when it would
// rather not read whole tables.
func TestEveryStatementUsesAnIndex(t *testing.T) {
	seen := &statements{sql: map[string]bool{}}
	t.Run("suite", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) store.Store { return openTest(t, Options{tracer: seen}) })
	})
	dsn := pgtest.Empty(t)
	if err := migrateTo(t, dsn, migrations); err != nil {
		t.Fatal(err)
	}
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(t.Context(), `SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan`); err != nil {
		t.Fatal(err)
	}
	// These are small, or meant to be read whole.
	wholeTables := []string{"positions", "counters", "environments", "functions"}
	wholeIndexes := []string{"lanes_waiting", "sync_instances_due", "sync_instances_triggered", "notifications_due", "runs_running", "environments_pkey", "jobs_running"}
	// ReleaseLeases, once at start.
	mayScan := regexp.MustCompile(`^UPDATE (sync_instances SET poll_lease_owner = '', poll_lease_until = NULL WHERE|lanes SET lease_owner = '', lease_until = NULL WHERE|jobs SET lease_owner = '', lease_until = NULL WHERE)`)
	maySort := regexp.MustCompile(`FROM functions|FROM sync_instances|unnest|FROM connection_match|FROM integrations|GROUP BY position|FROM collections|WITH free|FROM environments AS e`)
	explained := 0
	for sql := range seen.sql {
		if !regexp.MustCompile(`^(SELECT|UPDATE|DELETE|INSERT|WITH)\s`).MatchString(sql) || strings.Contains(sql, "_positions(") {
			continue
		}
		explained++
		arguments := 0
		for _, m := range regexp.MustCompile(`\$(\d+)`).FindAllStringSubmatch(sql, -1) {
			n, _ := strconv.Atoi(m[1])
			arguments = max(arguments, n)
		}
		name, call := fmt.Sprint("s", explained), ""
		if arguments > 0 {
			call = "(" + strings.TrimSuffix(strings.Repeat("NULL,", arguments), ",") + ")"
		}
		if _, err := c.Exec(t.Context(), "PREPARE "+name+" AS "+sql); err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		rows, err := c.Query(t.Context(), "EXPLAIN (FORMAT JSON) EXECUTE "+name+call, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		text, err := pgx.CollectOneRow(rows, pgx.RowTo[string])
		var answer []struct{ Plan plan }
		if err == nil {
			err = json.Unmarshal([]byte(text), &answer)
		}
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		answer[0].Plan.walk(func(p plan) {
			bad := false
			switch p.Type {
			case "Seq Scan":
				bad = !slices.Contains(wholeTables, p.Relation) && !mayScan.MatchString(sql)
			case "Index Scan", "Index Only Scan", "Bitmap Index Scan":
				bad = p.Cond == "" && !slices.Contains(wholeIndexes, p.Index) && !mayScan.MatchString(sql)
			case "Sort", "Incremental Sort":
				bad = !maySort.MatchString(sql)
			}
			if bad {
				t.Errorf("%s %s%s in\n%s\n%s", p.Type, p.Relation, p.Index, sql, answer[0].Plan)
			}
		})
	}
	if explained < 80 {
		t.Errorf("only %d statements were seen", explained)
	}
}
