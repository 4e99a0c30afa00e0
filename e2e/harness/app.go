package harness

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Notification is one that the user's app received and verified.
type Notification struct {
	ID       string    // X-Syncline-Notification-Id
	Verified bool      // the signature was right
	At       time.Time `json:"-"` // when it arrived
	Type     string    `json:"type"`
	SyncName string    `json:"syncName"`
	Model    string    `json:"model"`
	SyncType string    `json:"syncType"`
	Success  bool      `json:"success"`
	Results  struct {
		Added   int `json:"added"`
		Updated int `json:"updated"`
		Deleted int `json:"deleted"`
	} `json:"responseResults"`
	Connection string `json:"connectionId"`
	// Payload is that of an asynchronous action.
	Payload struct {
		ID        string `json:"id"`
		StatusURL string `json:"statusUrl"`
	} `json:"payload"`
}

// App is the user's app: it receives notifications and verifies each.
type App struct {
	URL string

	mu       sync.Mutex
	key      string
	got      []Notification
	seen     map[string]bool
	repeated int
	changed  chan struct{} // closed at the next notification
	server   *http.Server
}

// StartApp starts the app on a free port.
func StartApp() (*App, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &App{URL: "http://" + l.Addr().String() + "/webhooks/syncline", changed: make(chan struct{}), seen: map[string]bool{}}
	a.server = &http.Server{Handler: a}
	go func() { _ = a.server.Serve(l) }()
	return a, nil
}

// Close stops the app.
func (a *App) Close() { _ = a.server.Close() }

// SetKey sets the key that notifications are signed with.
func (a *App) SetKey(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.key = key
}

// ServeHTTP takes one notification.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var n Notification
	if err != nil || json.Unmarshal(body, &n) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	n.ID, n.At = r.Header.Get("X-Syncline-Notification-Id"), time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	m := hmac.New(sha256.New, []byte(a.key))
	m.Write(body)
	n.Verified = hmac.Equal([]byte(hex.EncodeToString(m.Sum(nil))), []byte(r.Header.Get("X-Nango-Hmac-Sha256")))
	if a.seen[n.ID] {
		a.repeated++ // at least once: the id tells
		return
	}
	a.seen[n.ID] = true
	a.got = append(a.got, n)
	close(a.changed)
	a.changed = make(chan struct{})
}

// Notifications lists what was received, without repetitions.
func (a *App) Notifications() []Notification {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Notification(nil), a.got...)
}

// Count is how many notifications were received.
func (a *App) Count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.got)
}

// Wait returns the first notification beyond the first after ones that want
// accepts.
func (a *App) Wait(ctx context.Context, after int, want func(Notification) bool) (Notification, error) {
	for {
		a.mu.Lock()
		for ; after < len(a.got); after++ {
			if n := a.got[after]; want(n) {
				a.mu.Unlock()
				return n, nil
			}
		}
		changed := a.changed
		a.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return Notification{}, ctx.Err()
		}
	}
}
