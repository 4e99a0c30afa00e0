package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strconv"
	"time"

	"syncline"
)

// Refresher gets credentials for a connection whose own were refused.
type Refresher interface {
	// Refresh returns credentials (template variables) that are newer than used, or
	// nil when there are none: then the refusal stands. It is called once at a
	// time for a connection and the same used credentials; when used are not
	// the stored ones any more, the stored ones are the answer. An error means that
	// fresh ones ought to be there and could not be had; the refusal stands too,
	// and the run's log has the error.
	Refresh(ctx context.Context, i *syncline.Integration, c *syncline.Connection, used map[string]string) (map[string]string, error)
}

// refreshTimeout bounds one refresh, which several requests may wait for.
const refreshTimeout = 30 * time.Second

// refresh returns fresh credentials for r, or nil when its own stand. Its error
// is ctx's.
func (c *Client) refresh(ctx context.Context, r Request) (map[string]string, error) {
	if c.conf.Refresher == nil || r.Connection == nil || len(r.Credentials) == 0 {
		return nil, nil
	}
	flight := c.refreshes.DoChan(refreshKey(r), func() (any, error) {
		// Not the context of whoever came first: the others wait for it too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTimeout)
		defer cancel()
		return c.conf.Refresher.Refresh(ctx, r.Integration, r.Connection, r.Credentials)
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case result := <-flight:
		if result.Err != nil {
			if r.Log != nil {
				r.Log(syncline.LogLine{At: c.conf.Clock.Now(), Level: syncline.LogWarn,
					Message: "the credentials were refused and could not be refreshed: " + c.redactorOf(r).text(result.Err.Error())})
			}
			return nil, nil
		}
		fresh, _ := result.Val.(map[string]string)
		if len(fresh) == 0 || maps.Equal(fresh, r.Credentials) {
			return nil, nil
		}
		return maps.Clone(fresh), nil
	}
}

func refreshKey(r Request) string {
	b, err := json.Marshal(r.Credentials) // sorted
	if err != nil {
		b = nil // strings: it does not fail
	}
	sum := sha256.Sum256(b)
	return strconv.FormatInt(r.Connection.ID, 10) + " " + r.Connection.ConnectionID + " " + hex.EncodeToString(sum[:])
}

func (c *Client) redactorOf(r Request) *redactor {
	out := &redactor{}
	for _, value := range r.Credentials {
		out.add(value)
	}
	return out
}
