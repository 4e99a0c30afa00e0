package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"syncline/e2e/harness"
	"syncline/internal/standin/github"
	"syncline/internal/store/postgres/pgtest"
)

// TestKillNineDuringABurst kills the server at random moments and at the named
// points of internal/crash while webhooks come in, starts it again, and checks
// that every acknowledged delivery ends processed, that the cache equals the
// stand-in's state, and that the app was told of every change exactly once by
// id.
func TestKillNineDuringABurst(t *testing.T) {
	t.Parallel()
	type round struct {
		name  string
		point string        // SYNCLINE_CRASH_AT
		after time.Duration // or kill after this long
	}
	var rounds []round
	for _, point := range []string{"after-inbox-commit", "after-route", "after-run", "before-commit", "after-commit", "after-notify"} {
		for _, n := range []int{1, 4} {
			rounds = append(rounds, round{name: fmt.Sprintf("%s, time %d", point, n), point: fmt.Sprintf("%s:%d", point, n)})
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for len(rounds) < 20 {
		after := time.Duration(random.IntN(400)) * time.Millisecond
		rounds = append(rounds, round{name: fmt.Sprintf("at random, after %s", after), after: after})
	}
	slots := make(chan struct{}, 3)
	for name, databaseOf := range map[string]func(testing.TB) string{"embedded": func(testing.TB) string { return "" }, "postgres": pgtest.Empty} {
		for _, r := range rounds {
			t.Run(name+": "+r.name, func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				w := newWorldOn(t, databaseOf(t), crashing)
				initial := w.prepareBurst()
				if r.point != "" {
					// The point counts from the start of the process.
					w.server.Kill()
					env := w.server.Env
					w.server.Env = append(slices.Clone(env), "SYNCLINE_CRASH_AT="+r.point)
					_, err := w.server.Start(w.context())
					w.ok(err)
					w.server.Env = env
				} else {
					time.AfterFunc(r.after, w.server.Kill)
				}
				restarted := make(chan struct{})
				go func() {
					defer close(restarted)
					select {
					case <-w.server.Exited():
					case <-time.After(20 * time.Second):
						if name == "embedded" {
							t.Error("the server was not killed")
							return
						}
						// It began to route so late that all went in fewer batches.
						t.Logf("%s was not reached", r.point)
						w.server.Kill()
					}
					if _, err := w.server.Start(context.WithoutCancel(t.Context())); err != nil {
						t.Error(err)
					}
				}()
				w.burst(w.webhook)
				<-restarted
				if t.Failed() {
					return
				}
				w.afterBurst(initial)
			})
		}
	}
}

// The burst: so many issues are edited so often.
const issues, edits = 12, 8

// prepareBurst starts the server with issues that it knows, and whose changes
// only webhooks will tell. It returns how many notifications the app has by then.
func (w *world) prepareBurst() (told int) {
	w.t.Helper()
	for n := range issues {
		w.github.Create(fmt.Sprintf("Issue %d", n+1))
	}
	w.start("example")
	w.until("GithubIssue", func(all map[string]harness.Record) bool { return len(all) == issues })
	w.run("issues&kind=poll") // has ended, and not only saved
	w.ok(w.client.Pause(w.context(), integration, connection, "issues"))
	w.ok(w.client.Quiet(w.context()))
	return w.app.Count()
}

// burst edits issues and sends their webhooks, to all of the URLs in turn. Each
// sender edits issues of its own, one after another: what GitHub sends in order
// arrives in order. A delivery that is not acknowledged is sent again until it
// is, also to another of the URLs.
func (w *world) burst(urls ...string) {
	var senders sync.WaitGroup
	for s := range 4 {
		senders.Go(func() {
			for n := range edits {
				for number := s + 1; number <= issues; number += 4 {
					e := w.github.Edit(number, fmt.Sprintf("Issue %d, edit %d", number, n+1))
					if !w.insist(e, n+number, urls) {
						return
					}
				}
			}
		})
	}
	senders.Wait()
}

// insist sends a webhook until it is acknowledged.
func (w *world) insist(e *github.Event, first int, urls []string) bool {
	deadline := time.Now().Add(30 * time.Second)
	for try := first; ; try++ {
		a, err := e.Send(w.t.Context(), w.http, urls[try%len(urls)])
		if err == nil && a.Status == http.StatusOK {
			return true
		}
		if time.Now().After(deadline) {
			w.t.Errorf("the webhook is not acknowledged: %+v, %v", a, err)
			return false
		}
		time.Sleep(5 * time.Millisecond) // the server is down: try again soon
	}
}

// afterBurst waits until everything was processed, and checks that each change
// was, once.
func (w *world) afterBurst(told int) {
	t := w.t
	t.Helper()
	w.ok(w.client.Quiet(w.context()))
	deliveries, err := w.client.Deliveries(w.context(), "limit=1000")
	w.ok(err)
	for _, d := range deliveries {
		if d.Status != "processed" {
			t.Errorf("delivery %d is %s: %s", d.Position, d.Status, d.Reason)
		}
	}
	if len(deliveries) != issues*edits {
		t.Errorf("%d deliveries are stored; %d were acknowledged", len(deliveries), issues*edits)
	}
	all, err := w.client.All(w.context(), integration, connection, "GithubIssue")
	w.ok(err)
	for _, i := range w.github.Issues() {
		if got := all[fmt.Sprint(i.ID)].Fields["title"]; got != i.Title {
			t.Errorf("issue %d is %q at GitHub and %v in the cache", i.Number, i.Title, got)
		}
	}
	changes := 0
	for _, n := range w.app.Notifications()[told:] {
		changes += n.Results.Added + n.Results.Updated
		if !n.Verified || !n.Success || n.SyncType != "WEBHOOK" {
			t.Errorf("the app was told %+v", n)
		}
	}
	if changes != issues*edits {
		t.Errorf("the app was told of %d changes; there were %d", changes, issues*edits)
	}
}
