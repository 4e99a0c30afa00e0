package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"syncline/e2e/harness"
	"syncline/internal/store/postgres/pgtest"
)

// second prepares another server on the database of a world.
func (w *world) second(bin string) (s *harness.Server, client *harness.Client) {
	w.t.Helper()
	s = newServer(w.t, w.server.Database, bin)
	client = s.Client()
	w.t.Cleanup(client.HTTP.CloseIdleConnections)
	return s, client
}

// via is a webhook URL at another server.
func (w *world) via(s *harness.Server) string {
	return strings.Replace(w.webhook, w.server.URL, s.URL, 1)
}

// begin starts a server with further variables.
func (w *world) begin(s *harness.Server, env ...string) {
	w.t.Helper()
	before := s.Env
	s.Env = append(slices.Clone(before), env...)
	_, err := s.Start(w.context())
	w.ok(err)
	s.Env = before
}

// TestOfTwoServersOneIsKilledDuringABurst sends webhooks to two servers on one
// database. One of them, the one that routes or the other, is killed for good;
// everything that either acknowledged is processed once by the one that is left.
func TestOfTwoServersOneIsKilledDuringABurst(t *testing.T) {
	t.Parallel()
	type round struct {
		leader bool          // the one that routes is killed
		point  string        // SYNCLINE_CRASH_AT
		after  time.Duration // or kill after this long
	}
	rounds := []round{
		{leader: true, point: "after-inbox-commit:3"}, {leader: true, point: "after-route:3"}, {leader: true, point: "after-notify:3"},
		{leader: false, point: "after-inbox-commit:3"},
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for n := range 6 {
		rounds = append(rounds, round{leader: n%2 == 0, after: time.Duration(random.IntN(300)) * time.Millisecond})
	}
	slots := make(chan struct{}, 2)
	for _, r := range rounds {
		t.Run(fmt.Sprintf("leader %t %s %s", r.leader, r.point, r.after), func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			w := newWorldOn(t, pgtest.Empty(t), crashing)
			told := w.prepareBurst()
			left, client := w.second(crashing)
			var env []string
			if r.point != "" {
				env = []string{"SYNCLINE_CRASH_AT=" + r.point}
			}
			switch victim := w.server; {
			case r.leader && r.point != "":
				w.ok(victim.Stop(w.context()))
				w.begin(victim, env...) // leads: there is no other
				w.begin(left)
			case r.leader:
				w.begin(left)
			default:
				w.ok(victim.Stop(w.context()))
				w.begin(left) // leads
				w.begin(victim, env...)
			}
			if r.point == "" {
				time.AfterFunc(r.after, w.server.Kill)
			}
			w.burst(w.webhook, w.via(left))
			select {
			case <-w.server.Exited():
			case <-time.After(10 * time.Second): // it routed in fewer batches
				t.Logf("%s was not reached", r.point)
				w.server.Kill()
			}
			w.client = client
			w.afterBurst(told)
		})
	}
}

func TestWhatIsDoneThroughOneServerIsSeenByTheOther(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, pgtest.Empty(t), binary)
	ctx := w.context()
	w.start("example") // it routes and sends
	other, client := w.second(binary)
	w.begin(other)
	e := w.github.Create("through the other")
	w.webhook, w.server.URL = w.via(other), other.URL
	w.send(e)
	began := time.Now()
	w.until("GithubIssue", func(all map[string]harness.Record) bool { return all[id(e)].Fields["title"] == "through the other" })
	t.Logf("a webhook through the one that does not route was processed in %s", time.Since(began))

	// Parked at the one, it is routed when its connection is made at the other.
	r, err := w.github.Create("for a later connection").Request(ctx, w.webhook+"/later")
	w.ok(err)
	resp, err := w.http.Do(r)
	w.ok(err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the delivery for a later connection got %d", resp.StatusCode)
	}
	w.ok(client.Quiet(ctx))
	later := w.setup
	later.Connection = "later"
	began = time.Now()
	w.ok(client.Connect(ctx, later))
	for {
		d, err := w.client.Deliveries(ctx, "status=parked")
		w.ok(err)
		if len(d) == 0 {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("the parked delivery was not routed when its connection came")
		}
	}
	w.ok(client.Quiet(ctx))
	for _, n := range w.app.Notifications() {
		if !n.Verified || !n.Success {
			t.Errorf("the app was told %+v", n)
		}
	}
}

func TestThePollOfAServerThatWasKilledIsRunByAnother(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, pgtest.Empty(t), binary)
	w.github.Create("one")
	gate := w.github.Hold(1)
	w.start("example")
	<-gate.Reached()
	other, client := w.second(binary)
	w.begin(other)
	w.client = client
	began := time.Now()
	w.server.Kill()
	gate.Release()
	w.until("GithubIssue", func(all map[string]harness.Record) bool { return len(all) == 1 })
	t.Logf("the poll was taken over in %s", time.Since(began))
	for {
		runs, err := client.Runs(w.context(), "function=issues&status=reaped")
		w.ok(err)
		if len(runs) == 1 {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatal("the run that died is not marked")
		}
	}
}

func TestServersThatStartTogetherMakeOneEnvironment(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, pgtest.Empty(t), binary)
	servers := []*harness.Server{w.server}
	for range 2 {
		s, _ := w.second(binary)
		servers = append(servers, s)
	}
	failed := make(chan error)
	for _, s := range servers {
		go func() {
			_, err := s.Start(w.context())
			failed <- err
		}()
	}
	for range servers {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	keys := map[string]bool{}
	for _, s := range servers {
		c := s.Client()
		key, err := c.SigningKey(w.context())
		w.ok(err)
		keys[key] = true
		c.HTTP.CloseIdleConnections()
	}
	if len(keys) != 1 {
		t.Errorf("there are %d signing keys", len(keys))
	}

	// Without the key of the others, a server does not start.
	s, _ := w.second(binary)
	s.Env = nil
	_, err := s.Start(w.context())
	if err == nil || !strings.Contains(err.Error(), "which this server does not have") || !strings.Contains(err.Error(), "SYNCLINE_ENCRYPTION_KEY") {
		t.Errorf("a server with another key: %v", err)
	}
}
