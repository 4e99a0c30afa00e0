package postgres

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"syncline"
	"syncline/internal/store"
)

const (
	// beat is how often a process shows that it lives, and looks whether it can
	// take a role that it wants.
	beat = time.Second
	// beatTime bounds one sign of life. A process that cannot give it has lost its
	// roles in its own eyes, well before the server drops its session.
	beatTime = 3 * time.Second
	// dropAfter is when the server drops a session without a sign of life: that of
	// a machine that vanished, or of a process that stands still.
	dropAfter = 10 * time.Second
	// goneFor is for how long a process has to be gone until its leases are freed:
	// one that merely lost its connection is back sooner.
	goneFor = 2 * time.Second
	// lookEvery is how often leases of processes that are gone are looked for
	// though nobody was seen to go.
	lookEvery = 30 * time.Second
	// skewed is the difference to the server's clock beyond which it is said.
	skewed = 2 * time.Second
)

// Peers is one process among those that have the store open. They share out
// roles that one of them has at a time, tell which of them are gone, and wake
// each other (signals.go).
//
// Roles and the signs of life are advisory locks of one session, apart from the
// pools: they go with the process, however it ends. For what a role does they
// are a convenience, not a proof: a process that stands still for long may
// believe for a moment that it has a role that another took over. What must not
// happen twice is guarded in the transaction that does it.
type Peers struct {
	store  *Store
	log    *slog.Logger
	config *pgx.ConnConfig
	number uint32 // of this process
	// roles and members are the classes of the locks. They are made of the number
	// of a table: several stores can be in one database, in schemas of their own.
	roles, members uint32

	woken   func(signal string)
	channel string

	mu      sync.Mutex
	session *session // nil while there is none
	pending map[string]bool
	kick    chan struct{}

	stop  context.CancelFunc
	loops sync.WaitGroup

	// Of ReleaseLost:
	seen    map[uint32]bool
	missing map[string]time.Time // owners of leases, since when they are gone
	looked  time.Time
}

// session is one connection, for as long as it lasts.
type session struct {
	mu   sync.Mutex // one statement at a time
	conn *pgx.Conn
	held map[string]bool // roles
	ctx  context.Context // ends when the connection is lost
	lose context.CancelFunc
}

// Join makes this process known to the others. owner is the name under which it
// takes leases; no two processes have the same. woken is called with what others
// said with [Peers.Notify], and with "" when something may have been missed; it
// must return at once.
func (s *Store) Join(ctx context.Context, owner string, woken func(signal string)) (*Peers, error) {
	if s.writers == nil {
		return nil, errReadOnly
	}
	p := &Peers{
		store: s, log: s.opts.Logger, config: s.writers.Config().ConnConfig.Copy(), number: numberOf(owner), woken: woken,
		pending: map[string]bool{}, kick: make(chan struct{}, 1), seen: map[uint32]bool{}, missing: map[string]time.Time{},
	}
	// A statement that is late ends the connection; a wait that is over does not.
	p.config.BuildContextWatcherHandler = func(pg *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: pg.Conn()}
	}
	var table int64
	err := s.View(ctx, func(r store.Reader) (err error) {
		table, err = r.(*reader).number(`SELECT 'counters'::regclass::oid::bigint`)
		return err
	})
	if err != nil {
		return nil, err
	}
	p.roles, p.members = numberOf(fmt.Sprintf("syncline roles %d", table)), numberOf(fmt.Sprintf("syncline members %d", table))
	p.channel = fmt.Sprintf("syncline_wake_%d", table)
	first, err := p.connect(ctx)
	if err != nil {
		return nil, storageError(err)
	}
	running, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.loops.Go(func() { p.keep(running, first) })
	p.loops.Go(func() { p.announce(running) })
	p.loops.Go(func() { p.listen(running) })
	return p, nil
}

// Close leaves: the roles are free for others.
func (p *Peers) Close() {
	p.stop()
	p.loops.Wait()
}

func numberOf(text string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(text))
	return h.Sum32()
}

// signed is a number as Postgres' integers have it.
func signed(n uint32) int32 {
	return int32(n) //nolint:gosec // the same bits
}

// connect opens a session that the server drops when it hears nothing, and gives
// the sign of life.
func (p *Peers) connect(ctx context.Context) (*session, error) {
	conn, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	// Shared, since numbers are not quite unique.
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock_shared($1::int, $2::int)`, signed(p.members), signed(p.number)); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	s := &session{conn: conn, held: map[string]bool{}}
	s.ctx, s.lose = context.WithCancel(context.Background())
	p.mu.Lock()
	p.session = s
	p.mu.Unlock()
	p.Notify("") // sends what waits
	return s, nil
}

func (p *Peers) dial(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, p.config)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, `SELECT set_config('synchronous_commit', 'off', false), set_config('tcp_keepalives_idle', '5', false),
		set_config('tcp_keepalives_interval', '2', false), set_config('tcp_keepalives_count', '3', false),
		CASE WHEN current_setting('server_version_num')::int >= 140000 THEN set_config('idle_session_timeout', $1, false) END`,
		fmt.Sprint(dropAfter.Milliseconds()))
	if err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// keep keeps a session open until ctx ends.
func (p *Peers) keep(ctx context.Context, s *session) {
	complained := false
	for ctx.Err() == nil {
		if s == nil {
			within, cancel := context.WithTimeout(ctx, beatTime)
			fresh, err := p.connect(within)
			cancel()
			if err != nil {
				if !complained && ctx.Err() == nil {
					p.log.Warn("no session for roles: others will take this process for gone", slog.Any("err", err))
				}
				complained = true
				wait(ctx, beat)
				continue
			}
			s, complained = fresh, false
		}
		p.alive(ctx, s)
		p.mu.Lock()
		p.session = nil
		p.mu.Unlock()
		s.lose()
		s.mu.Lock()
		closing, cancel := context.WithTimeout(context.Background(), beatTime)
		_ = s.conn.Close(closing)
		cancel()
		s.mu.Unlock()
		s = nil
	}
}

// alive gives signs of life until one fails.
func (p *Peers) alive(ctx context.Context, s *session) {
	told := false
	for wait(ctx, beat) {
		var server time.Time
		began := time.Now()
		err := s.do(func(ctx context.Context, c *pgx.Conn) error {
			return c.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&server)
		})
		if err != nil {
			p.log.Warn("the session for roles was lost", slog.Any("err", err))
			return
		}
		took := time.Since(began)
		if off := began.Add(took / 2).Sub(server); !told && off.Abs() > skewed+took {
			told = true
			p.log.Warn("this machine's clock differs from the database's: leases end too early or too late", slog.Duration("ahead", off))
		}
	}
}

// wait waits; it reports whether ctx still goes on.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

var errNoSession = syncline.Errorf(syncline.CodeUnavailable, "there is no session for roles now")

// do runs statements. After a failure the session is lost.
func (s *session) do(fn func(ctx context.Context, c *pgx.Conn) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return errNoSession
	}
	ctx, cancel := context.WithTimeout(context.Background(), beatTime)
	defer cancel()
	err := fn(ctx, s.conn)
	if err != nil {
		s.lose()
		return storageError(err)
	}
	return nil
}

func (p *Peers) current() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session
}

// take takes a role if it is free, and returns the session that holds it.
func (p *Peers) take(role string) *session {
	s := p.current()
	if s == nil {
		return nil
	}
	got := false
	err := s.do(func(ctx context.Context, c *pgx.Conn) error {
		if s.held[role] {
			return nil // by another part of this process
		}
		err := c.QueryRow(ctx, `SELECT pg_try_advisory_lock($1::int, $2::int)`, signed(p.roles), signed(numberOf(role))).Scan(&got)
		s.held[role] = got
		return err
	})
	if err != nil || !got {
		return nil
	}
	return s
}

func (p *Peers) release(s *session, role string) {
	_ = s.do(func(ctx context.Context, c *pgx.Conn) error { // a session that is lost holds nothing
		delete(s.held, role)
		_, err := c.Exec(ctx, `SELECT pg_advisory_unlock($1::int, $2::int)`, signed(p.roles), signed(numberOf(role)))
		return err
	})
}

// Lead waits until this process has a role, and runs run while it has: its
// context ends when the role is lost, and run is called again when the role is
// back. Lead returns what run returned once that ended by itself, or nil when
// ctx has ended.
func (p *Peers) Lead(ctx context.Context, role string, run func(ctx context.Context) error) error {
	return p.lead(ctx, role, beat, run)
}

// Alone runs fn while no other process is in Alone for the same role. It waits
// for its turn.
func (p *Peers) Alone(ctx context.Context, role string, fn func(ctx context.Context) error) error {
	if err := p.lead(ctx, role, beat/20, fn); err != nil {
		return err
	}
	return ctx.Err()
}

// Try runs fn if this process can have a role now.
func (p *Peers) Try(ctx context.Context, role string, fn func(ctx context.Context) error) error {
	s := p.take(role)
	if s == nil {
		return nil
	}
	return p.under(ctx, s, role, fn)
}

func (p *Peers) lead(ctx context.Context, role string, every time.Duration, run func(ctx context.Context) error) error {
	// Often at first: the session of the process that this one replaces may be on
	// its way out still.
	for next := beat / 20; ; next = min(2*next, every) {
		if s := p.take(role); s != nil {
			p.log.Debug("this process has taken a role", slog.String("role", role))
			err := p.under(ctx, s, role, run)
			if s.ctx.Err() == nil || ctx.Err() != nil {
				return err
			}
			p.log.Warn("this process has lost a role", slog.String("role", role))
		}
		if !wait(ctx, next) {
			return nil
		}
	}
}

// under runs run while the session lasts, and gives the role back.
func (p *Peers) under(ctx context.Context, s *session, role string, run func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	defer p.release(s, role)
	return run(ctx)
}

// ReleaseLost frees the leases of processes that are gone, and returns how many
// it freed. It is called every second by whoever has the role for it; mostly it
// only looks who lives.
func (p *Peers) ReleaseLost(ctx context.Context) (released int64, err error) {
	live, err := p.living()
	if err != nil {
		return 0, err
	}
	left := p.looked.IsZero()
	for n := range p.seen {
		left = left || !live[n]
	}
	p.seen = live
	if !left && len(p.missing) == 0 && time.Since(p.looked) < lookEvery {
		return 0, nil
	}
	var owners []string
	err = p.store.View(ctx, func(r store.Reader) (err error) {
		owners, err = all(r.(*reader), `SELECT lease_owner FROM lanes WHERE lease_owner <> ''
			UNION SELECT poll_lease_owner FROM sync_instances WHERE poll_lease_owner <> ''
			UNION SELECT lease_owner FROM jobs WHERE lease_owner <> ''`, (*row).text)
		return err
	})
	if err != nil {
		return 0, err
	}
	// After the owners: who has a lease had joined before.
	if live, err = p.living(); err != nil {
		return 0, err
	}
	p.looked = time.Now()
	missing := map[string]time.Time{}
	var gone []string
	for _, o := range owners {
		if live[numberOf(o)] {
			continue
		}
		since, known := p.missing[o]
		switch {
		case !known:
			missing[o] = p.looked
		case p.looked.Sub(since) < goneFor:
			missing[o] = since
		default:
			gone = append(gone, o)
		}
	}
	p.missing = missing
	if len(gone) == 0 {
		return 0, nil
	}
	err = p.store.Update(ctx, store.Relaxed, func(st store.Tx) error {
		t := st.(*tx)
		polls, err := t.exec(`UPDATE sync_instances SET poll_lease_owner = '', poll_lease_until = NULL WHERE poll_lease_owner = ANY ($1::text[])`, gone)
		if err != nil {
			return err
		}
		lanes, err := t.exec(`UPDATE lanes SET lease_owner = '', lease_until = NULL WHERE lease_owner = ANY ($1::text[])`, gone)
		if err != nil {
			return err
		}
		jobs, err := t.exec(`UPDATE jobs SET lease_owner = '', lease_until = NULL WHERE lease_owner = ANY ($1::text[])`, gone)
		released = polls + lanes + jobs
		return err
	})
	if err != nil {
		for _, o := range gone {
			p.missing[o] = p.looked.Add(-goneFor)
		}
		return 0, err
	}
	p.log.Warn("the leases of processes that are gone were freed", slog.Any("processes", gone), slog.Int64("leases", released))
	return released, nil
}

// living are the numbers of the processes that give signs of life.
func (p *Peers) living() (map[uint32]bool, error) {
	s := p.current()
	if s == nil {
		return nil, errNoSession
	}
	live := map[uint32]bool{}
	err := s.do(func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, `SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid::bigint = $1`, int64(p.members))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var n int64
			if err := rows.Scan(&n); err != nil {
				return err
			}
			live[uint32(n)] = true //nolint:gosec // an oid
		}
		return rows.Err()
	})
	return live, err
}

// RouterPosition locks the position: of two processes that route at the same
// time, the second sees what the first did.
func (t *tx) RouterPosition() (int64, error) {
	return t.number(`SELECT value FROM counters WHERE name = 'router_position' FOR NO KEY UPDATE`)
}
