package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// announceEvery is the least time between two announcements: what is said
	// meanwhile goes together. Sessions that announce take turns at the server.
	announceEvery = 20 * time.Millisecond
	// listenCheck is how often a silent connection is tried.
	listenCheck = dropAfter / 3
)

// Notify tells the other processes something that they could find out by looking:
// it may be lost, and is said once when it is said again before it was sent. It
// returns at once. A signal is short, without a line break.
func (p *Peers) Notify(signal string) {
	p.mu.Lock()
	if signal != "" {
		p.pending[signal] = true
	}
	p.mu.Unlock()
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// announce sends what Notify was given. Transactions that announce wait for each
// other's commits, so that is done by none that does anything else.
func (p *Peers) announce(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
		}
		p.mu.Lock()
		s, signals := p.session, slices.Collect(maps.Keys(p.pending))
		if s != nil {
			clear(p.pending)
		}
		p.mu.Unlock()
		if s != nil && len(signals) > 0 {
			for i := range signals {
				signals[i] = fmt.Sprintf("%08x %s", p.number, signals[i])
			}
			_ = s.do(func(ctx context.Context, c *pgx.Conn) error { // what is lost is found by looking
				_, err := c.Exec(ctx, `SELECT pg_notify($1, signal) FROM unnest($2::text[]) AS signal`, p.channel, signals)
				return err
			})
		}
		if !wait(ctx, announceEvery) {
			return
		}
	}
}

// listen hands on what others announce.
func (p *Peers) listen(ctx context.Context) {
	complained := false
	for ctx.Err() == nil {
		conn, err := p.subscribe(ctx)
		if err == nil {
			complained = false
			p.woken("") // what was said before, nobody heard
			err = p.hear(ctx, conn)
			closing, cancel := context.WithTimeout(context.Background(), beatTime)
			_ = conn.Close(closing)
			cancel()
		}
		if err != nil && ctx.Err() == nil {
			if !complained {
				p.log.Warn("this process does not hear the others: it finds out later what they do", slog.Any("err", err))
			}
			complained = true
			wait(ctx, beat)
		}
	}
}

func (p *Peers) subscribe(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, beatTime)
	defer cancel()
	conn, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, `LISTEN `+pgx.Identifier{p.channel}.Sanitize()); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

func (p *Peers) hear(ctx context.Context, conn *pgx.Conn) error {
	own := fmt.Sprintf("%08x", p.number)
	for {
		within, cancel := context.WithTimeout(ctx, listenCheck)
		n, err := conn.WaitForNotification(within)
		cancel()
		switch {
		case err == nil:
			if from, signal, ok := strings.Cut(n.Payload, " "); ok && from != own {
				p.woken(signal)
			}
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was told to end
		case pgconn.Timeout(err) || errors.Is(err, context.DeadlineExceeded):
			within, cancel := context.WithTimeout(ctx, beatTime)
			err := conn.Ping(within)
			cancel()
			if err != nil {
				return err
			}
		default:
			return err
		}
	}
}
