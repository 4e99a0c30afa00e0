package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"syncline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestANotificationIsTriedForThreeDaysWithOneID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		o.env(1)
		id := o.owe(1, 1)
		begin := time.Now()
		var at []time.Duration
		ids := map[string]bool{}
		_, stop := start(t, o, func(r *http.Request) (int, error) {
			at = append(at, time.Since(begin))
			ids[r.Header.Get(HeaderID)] = true
			return 500, nil
		}, Config{})
		time.Sleep(30 * 24 * time.Hour)
		stop()

		want := []time.Duration{0, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute}
		for i := range at[1:] {
			gap := time.Hour
			if i+1 < len(want) {
				gap = want[i+1]
			}
			if got := at[i+1] - at[i]; got != gap {
				t.Errorf("attempt %d came %v after the one before; want %v", i+2, got, gap)
			}
		}
		n := o.get(id)
		last := at[len(at)-1]
		if n.Status != syncline.NotificationFailed || n.Attempts != len(at) || len(at) != maxAttempts || last > Lifetime || last < Lifetime-time.Hour {
			t.Errorf("%s after %d attempts (row says %d, limit %d) over %v", n.Status, len(at), n.Attempts, maxAttempts, last)
		}
		if len(ids) != 1 || !ids["uuid-1"] {
			t.Errorf("ids = %v", ids)
		}
		if n.LastError != "the app answered 500: answer" {
			t.Errorf("last error = %q", n.LastError)
		}
	})
}

func TestJitterStaysWithinTenPercent(t *testing.T) {
	t.Parallel()
	for attempt := 1; attempt < maxAttempts; attempt++ {
		low, mid, high := backoff(attempt, 0), backoff(attempt, 0.5), backoff(attempt, 0.999999)
		if d := delay(attempt); mid != d || float64(low) != 0.9*float64(d) || high > d*11/10 || high <= mid {
			t.Errorf("attempt %d: %v, %v, %v around %v", attempt, low, mid, high, d)
		}
	}
}

func TestNotificationsOfAConnectionArriveInOrderOthersInParallel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		o.env(1)
		const connections, each = 5, 120
		for range each {
			for c := range connections {
				o.owe(1, int64(c+1))
			}
		}
		var mu sync.Mutex
		var order []int64
		var now, most, perConn int
		busy := map[int64]int{}
		_, stop := start(t, o, func(r *http.Request) (int, error) {
			b, _ := io.ReadAll(r.Body)
			var id int64
			_, _ = fmt.Sscanf(string(b), `{"n":%d}`, &id)
			conn := o.get(id).ConnectionID
			mu.Lock()
			order = append(order, id)
			now++
			busy[conn]++
			most, perConn = max(most, now), max(perConn, busy[conn])
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			now--
			busy[conn]--
			mu.Unlock()
			return 204, nil
		}, Config{})
		time.Sleep(10 * time.Second)
		stop()

		last := map[int64]int64{}
		for _, id := range order {
			conn := o.get(id).ConnectionID
			if id <= last[conn] {
				t.Fatalf("notification %d of connection %d came after %d", id, conn, last[conn])
			}
			last[conn] = id
		}
		if len(order) != connections*each || o.count(syncline.NotificationDelivered) != connections*each {
			t.Errorf("%d sent, %d delivered", len(order), o.count(syncline.NotificationDelivered))
		}
		if most != connections || perConn != 1 {
			t.Errorf("%d at once, %d of one connection", most, perConn)
		}
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		for env := range int64(4) {
			o.env(env + 1)
			for c := range int64(30) {
				o.owe(env+1, c+1)
			}
		}
		var mu sync.Mutex
		var all, mostAll, mostOne int
		one := map[string]int{}
		_, stop := start(t, o, func(r *http.Request) (int, error) {
			mu.Lock()
			all++
			one[r.Host]++
			mostAll, mostOne = max(mostAll, all), max(mostOne, one[r.Host])
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			all--
			one[r.Host]--
			mu.Unlock()
			return 200, nil
		}, Config{Concurrency: 10, PerDestination: 4})
		time.Sleep(5 * time.Minute)
		stop()
		if mostAll != 10 || mostOne != 4 || o.count(syncline.NotificationDelivered) != 120 {
			t.Errorf("%d at once, %d to one, %d delivered", mostAll, mostOne, o.count(syncline.NotificationDelivered))
		}
	})
}

func TestADestinationThatHangsDoesNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		o.env(1)
		o.env(2)
		for c := range int64(3000) { // more than any page
			o.owe(1, c+1)
		}
		begin := time.Now()
		var took time.Duration
		other := o.owe(2, 1)
		_, stop := start(t, o, func(r *http.Request) (int, error) {
			if strings.HasPrefix(r.Host, "app1.") {
				<-r.Context().Done()
				return 0, r.Context().Err()
			}
			took = time.Since(begin)
			return 200, nil
		}, Config{})
		time.Sleep(10 * time.Second)
		if o.get(other).Status != syncline.NotificationDelivered || took > time.Second {
			t.Errorf("the other notification is %s after %v", o.get(other).Status, took)
		}
		// And one that comes while the first is held.
		time.Sleep(time.Minute)
		begin = time.Now()
		late := o.owe(2, 7)
		time.Sleep(maxIdle)
		if o.get(late).Status != syncline.NotificationDelivered {
			t.Error("a later notification waits behind the destination that hangs")
		}
		stop()
	})
}

func TestADestinationThatIsDownIsProbedAndThenCaughtUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		o.env(1)
		for c := range int64(800) {
			o.owe(1, c+1)
		}
		var calls atomic.Int32
		var up atomic.Bool
		_, stop := start(t, o, func(r *http.Request) (int, error) {
			calls.Add(1)
			if up.Load() {
				return 200, nil
			}
			return 0, errors.New("connection refused")
		}, Config{})
		time.Sleep(2 * time.Hour)
		if n := calls.Load(); n > 60 {
			t.Errorf("%d requests in two hours to an app that is down", n)
		}
		up.Store(true)
		time.Sleep(holdCap + time.Hour + 10*time.Minute)
		stop()
		if n := o.count(syncline.NotificationDelivered); n != 800 {
			t.Errorf("%d of 800 were delivered after the app came back", n)
		}
	})
}

func TestANotificationThatTheAppRejectsDoesNotHoldUpItsConnection(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 422, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := newOutbox()
				o.env(1)
				poison := o.owe(1, 1)
				var order []string
				_, stop := start(t, o, func(r *http.Request) (int, error) {
					id := r.Header.Get(HeaderID)
					if id == "uuid-1" {
						return status, nil
					}
					order = append(order, id)
					return 200, nil
				}, Config{})
				var want []string
				for range 9 {
					want = append(want, fmt.Sprintf("uuid-%d", o.owe(1, 1)))
				}
				time.Sleep(2 * time.Minute)
				stop()
				if !slices.Equal(order, want) {
					t.Errorf("order = %v", order)
				}
				if n := o.get(poison); n.Status != syncline.NotificationPending || n.Attempts < 3 {
					t.Errorf("the rejected one: %+v", n)
				}
			})
		})
	}
}

func TestARowWhoseURLIsGoneFailsWithTheReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		o.env(1)
		e := o.envs[1]
		e.WebhookURL = ""
		o.envs[1] = e
		id, orphan := o.owe(1, 1), o.owe(99, 1)
		s, stop := start(t, o, func(r *http.Request) (int, error) { return 200, nil }, Config{})
		synctest.Wait()
		if n := o.get(id); n.Status != syncline.NotificationFailed || !strings.Contains(n.LastError, "no primary webhook URL") {
			t.Errorf("notification = %+v", n)
		}
		if n := o.get(orphan); n.Status != syncline.NotificationFailed || !strings.Contains(n.LastError, "no longer exists") {
			t.Errorf("orphan = %+v", n)
		}
		if err := s.Resend(t.Context(), 1, id); syncline.CodeOf(err) != syncline.CodeConflict {
			t.Errorf("Resend without a URL = %v", err)
		}
		if err := s.Resend(t.Context(), 2, id); syncline.CodeOf(err) != syncline.CodeNotFound {
			t.Errorf("Resend in another environment = %v", err)
		}
		o.env(1)
		if err := s.Resend(t.Context(), 1, id); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := o.get(id); n.Status != syncline.NotificationDelivered || n.Attempts != 1 || n.LastError != "" || n.DeliveredAt.IsZero() {
			t.Errorf("resent = %+v", n)
		}
		stop()
	})
}

func TestResendingGivesAWholeNewSchedule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		o.env(1)
		id := o.owe(1, 1)
		var calls atomic.Int32
		s, stop := start(t, o, func(r *http.Request) (int, error) { calls.Add(1); return 503, nil }, Config{})
		time.Sleep(Lifetime + 24*time.Hour)
		if n := o.get(id); n.Status != syncline.NotificationFailed {
			t.Fatalf("notification = %+v", n)
		}
		calls.Store(0)
		if err := s.Resend(t.Context(), 1, id); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if calls.Load() != 1 {
			t.Error("a resent notification was not sent at once")
		}
		time.Sleep(time.Hour)
		if n := o.get(id); n.Status != syncline.NotificationPending || calls.Load() < 5 {
			t.Errorf("notification = %+v after %d attempts", n, calls.Load())
		}
		stop()
	})
}

func TestWakeSendsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		o.env(1)
		s, stop := start(t, o, func(r *http.Request) (int, error) { return 200, nil }, Config{})
		time.Sleep(10 * time.Second)
		before := o.readCount()
		time.Sleep(45 * time.Second)
		if n := o.readCount(); n != before {
			t.Errorf("%d reads while nothing was due", n-before)
		}
		id := o.owe(1, 1)
		s.Wake()
		s.Wake()
		synctest.Wait()
		if o.get(id).Status != syncline.NotificationDelivered {
			t.Error("the notification was not sent when woken")
		}
		stop()
	})
}

func TestFlushTriesWhatIsDueOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		for env := range int64(2) {
			o.env(env + 1)
			for c := range int64(40) {
				o.owe(env+1, c%3+1)
			}
		}
		later := o.owe(1, 9)
		row := o.rows[later]
		row.NextAttemptAt = time.Now().Add(time.Hour)
		o.rows[later] = row
		tries := map[string]int{}
		var mu sync.Mutex
		s := newSender(o, func(r *http.Request) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			tries[r.Header.Get(HeaderID)]++
			if strings.HasPrefix(r.Host, "app1.") {
				return 500, nil
			}
			return 200, nil
		}, Config{})
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := o.count(syncline.NotificationDelivered); n != 40 {
			t.Errorf("%d delivered, want 40", n)
		}
		for id, n := range tries {
			if n != 1 {
				t.Errorf("%s was tried %d times", id, n)
			}
		}
		if o.get(later).Attempts != 0 {
			t.Error("one that is not due was tried")
		}
		// A destination that hangs: ctx bounds the flush.
		o.env(3)
		hung := o.owe(3, 1)
		s.client.Transport = app(func(r *http.Request) (int, error) {
			<-r.Context().Done()
			return 0, r.Context().Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Flush(ctx); err == nil {
			t.Error("a flush that was cut short gave no error")
		}
		if o.get(hung).Attempts != 0 {
			t.Error("a send that was cut short by shutdown counted as an attempt")
		}
	})
}

func TestShutdownLetsSendsFinishForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		o.env(1)
		quick, hung := o.owe(1, 1), o.owe(1, 2)
		_, stop := start(t, o, func(r *http.Request) (int, error) {
			if r.Header.Get(HeaderID) == "uuid-1" {
				time.Sleep(3 * time.Second)
				return 200, nil
			}
			<-r.Context().Done()
			return 0, r.Context().Err()
		}, Config{Grace: 4 * time.Second})
		time.Sleep(time.Second)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != 4*time.Second {
			t.Errorf("Run ended after %v", took)
		}
		if o.get(quick).Status != syncline.NotificationDelivered {
			t.Error("a send that could finish was not noted")
		}
		if n := o.get(hung); n.Attempts != 0 || n.Status != syncline.NotificationPending {
			t.Errorf("the send that hung: %+v", n)
		}
	})
}

func TestADeliveryThatTheStoreDoesNotTakeIsNotSentAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		o.env(1)
		id := o.owe(1, 1)
		var calls atomic.Int32
		s, stop := start(t, o, func(r *http.Request) (int, error) {
			calls.Add(1)
			o.failWith(errors.New("disk full"))
			return 200, nil
		}, Config{})
		for range 20 {
			time.Sleep(time.Second)
			s.Wake()
		}
		o.owe(1, 2)
		time.Sleep(time.Minute)
		if calls.Load() != 1 {
			t.Fatalf("%d requests while the store takes no writes", calls.Load())
		}
		o.failWith(nil)
		time.Sleep(storeMaxPause)
		if o.get(id).Status != syncline.NotificationDelivered {
			t.Error("the delivery was not noted when the store was back")
		}
		o.failWith(nil)
		time.Sleep(storeMaxPause)
		stop()
		if calls.Load() != 2 {
			t.Errorf("%d requests in all; want one for each notification", calls.Load())
		}
	})
}

func TestTheAppCanAskToBeLeftAlone(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-5": 0, "99999999999999999999": 0, "999999": time.Hour, "soon": 0,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", text, got, want)
		}
	}
	d := &destination{}
	if !d.failed(now, time.Minute) || !d.until.Equal(now.Add(time.Minute)) {
		t.Errorf("destination = %+v", d)
	}
}
