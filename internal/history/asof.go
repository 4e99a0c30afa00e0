package history

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"

	"syncline"
	"syncline/internal/store"
)

// The limits of a page of records as of a time.
const (
	DefaultRecords = 100
	MaxRecords     = 1000
)

// AsOfQuery selects records as they were at a time.
type AsOfQuery struct {
	Of
	At     time.Time
	Cursor string // of the page before; "" for the first one
	Limit  int    // 0: DefaultRecords
}

// Snapshot is a page of records as they were, in a fixed order of their ids.
type Snapshot struct {
	At string `json:"at"`
	// History tells whether versions of the model are kept. Where they are not,
	// there are only the records that have not changed since.
	History    bool              `json:"history"`
	Records    []json.RawMessage `json:"records"`
	NextCursor *string           `json:"next_cursor"`
}

// AsOf reads a page of records as they were at a time. A collection that is not
// there has none.
func AsOf(r store.Reader, q AsOfQuery) (Snapshot, error) {
	out := Snapshot{At: isoTime(q.At), Records: []json.RawMessage{}}
	if q.Limit == 0 {
		q.Limit = DefaultRecords
	}
	after := ""
	if q.Cursor != "" {
		says, err := decodeCursor(recordCursor, q.Cursor)
		if err != nil {
			return out, err
		}
		if after = string(says); !utf8.ValidString(after) {
			return out, badCursor(q.Cursor)
		}
	}
	var err error
	if out.History, err = q.kept(r); err != nil {
		return out, err
	}
	coll, err := r.Collection(q.EnvironmentID, q.ConnectionID, syncline.CollectionModel(q.Model, q.Variant))
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	var list []*syncline.Record
	size, more := 0, false
	err = r.ScanAsOf(q.EnvironmentID, coll.ID, q.At, after, q.Limit+1, func(rec *syncline.Record) bool {
		if more = len(list) == q.Limit || size > maxBytes; more {
			return false
		}
		list = append(list, rec)
		size += len(rec.Payload)
		return true
	})
	if err != nil {
		return out, err
	}
	if more {
		next := encodeCursor(recordCursor, []byte(list[len(list)-1].ID))
		out.NextCursor = &next
	}
	runs := runNames{r: r, env: q.EnvironmentID}
	for _, rec := range list {
		run, err := runs.uuid(rec.Writer.RunID)
		if err != nil {
			return out, err
		}
		one, err := recordJSON(rec, run)
		if err != nil {
			return out, err
		}
		out.Records = append(out.Records, one)
	}
	return out, nil
}

// metadata is what a record is shown with, as in GET /records, but for the
// cursor: of a time that is past there is none.
type metadata struct {
	FirstSeenAt    string           `json:"first_seen_at"`
	LastModifiedAt string           `json:"last_modified_at"`
	LastAction     syncline.Action  `json:"last_action"`
	DeletedAt      *string          `json:"deleted_at"`
	PrunedAt       *string          `json:"pruned_at"`
	Cause          syncline.RunKind `json:"cause"`
	RunID          *string          `json:"run_id"`
}

// recordJSON is the members of the payload, then _nango_metadata. Of a record
// whose payload was pruned, the id is left.
func recordJSON(r *syncline.Record, run *string) (json.RawMessage, error) {
	m, err := marshal(metadata{
		FirstSeenAt: isoTime(r.FirstSeenAt), LastModifiedAt: isoTime(r.LastModifiedAt), LastAction: r.LastAction,
		DeletedAt: isoTimeOrNull(r.DeletedAt), PrunedAt: isoTimeOrNull(r.PrunedAt), Cause: r.Writer.Cause(), RunID: run,
	})
	if err != nil {
		return nil, err
	}
	members := bytes.TrimSpace(payloadOf(r))
	if len(members) < 2 || members[0] != '{' {
		id, err := marshal(r.ID)
		if err != nil {
			return nil, err
		}
		members = append(append([]byte(`{"id":`), id...), '}')
	}
	members = bytes.TrimSpace(members[:len(members)-1])
	out := make([]byte, 0, len(members)+len(m)+24)
	out = append(out, members...)
	if len(members) > 1 {
		out = append(out, ',')
	}
	out = append(append(out, `"_nango_metadata":`...), m...)
	return append(out, '}'), nil
}
