// Package history reads what records were: the versions of one record with what
// changed from one to the next, and all records as of a time. It owns the pages,
// their cursors and their JSON, and what a difference is. It writes nothing, and
// does not know who keeps versions or removes old ones.
package history

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"

	"syncline"
	"syncline/internal/store"
)

// The limits of a page.
const (
	DefaultLimit = 20
	MaxLimit     = 100
	// maxBytes is about how many bytes of payload a page has at most, whatever its
	// limit. One more version may be read to compare the last one with.
	maxBytes = 8 << 20
	// step is how many versions are read at once.
	step = 10
)

// Of says of which collection to read.
type Of struct {
	EnvironmentID int64
	IntegrationID int64
	ConnectionID  int64 // internal id
	Model         string
	Variant       string // "" is base
}

// Query selects versions of one record.
type Query struct {
	Of
	ID     string // external id
	Cursor string // of the page before; "" for the first one
	Limit  int    // 0: DefaultLimit
}

// Page is versions of a record, newest first: the record as it is, then what it
// was.
type Page struct {
	ID      string `json:"id"`
	Model   string `json:"model"`
	Variant string `json:"variant"`
	// History tells whether versions of the model are kept. Where they are not,
	// there is only the record as it is.
	History    bool      `json:"history"`
	Versions   []Version `json:"versions"`
	NextCursor *string   `json:"next_cursor"`
}

// Version is a record as it was after a change.
type Version struct {
	// Data is null when the payload was pruned. Of a deleted record it is the last
	// payload.
	Data         json.RawMessage  `json:"data"`
	Action       syncline.Action  `json:"action"`
	ModifiedAt   string           `json:"modified_at"`
	SupersededAt *string          `json:"superseded_at"` // null for the record as it is
	PrunedAt     *string          `json:"pruned_at"`
	Cause        syncline.RunKind `json:"cause"`
	RunID        *string          `json:"run_id"` // null once the run was removed
	// Diff is what changed from the version before; null when that is not kept, or
	// one of the two has no payload.
	Diff []Change `json:"diff"`
}

// Read reads a page of versions. A record that is not there and has no versions
// is not_found; a cursor that is none is invalid_request.
func Read(r store.Reader, q Query) (Page, error) {
	page := Page{ID: q.ID, Model: q.Model, Variant: variantName(q.Variant), Versions: []Version{}}
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	before, err := positionOf(q.Cursor)
	if err != nil {
		return page, err
	}
	if page.History, err = q.kept(r); err != nil {
		return page, err
	}
	coll, err := r.Collection(q.EnvironmentID, q.ConnectionID, syncline.CollectionModel(q.Model, q.Variant))
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return page, q.unknown()
	}
	if err != nil {
		return page, err
	}
	list, more, err := q.versions(r, coll.ID, before, page.History)
	if err != nil {
		return page, err
	}
	if len(list) == 0 && q.Cursor == "" {
		return page, q.unknown()
	}
	shown := list
	if more { // the last one is there to compare with
		shown = list[:len(list)-1]
		next := cursorOf(shown[len(shown)-1].Seq)
		page.NextCursor = &next
	}
	runs := runNames{r: r, env: q.EnvironmentID}
	for i := range shown {
		var older *syncline.Record
		if i+1 < len(list) {
			older = &list[i+1].Record
		}
		v, err := versionOf(&shown[i], older)
		if err != nil {
			return page, err
		}
		if v.RunID, err = runs.uuid(shown[i].Writer.RunID); err != nil {
			return page, err
		}
		page.Versions = append(page.Versions, v)
	}
	return page, nil
}

func (q *Query) unknown() error {
	return syncline.Errorf(syncline.CodeNotFound, "there is no record %q of the model %s", q.ID, syncline.CollectionModel(q.Model, q.Variant))
}

// versions reads the record, when it is newer than the page before, and what it
// was, at positions below before. With more, the last of the list is beyond the
// page.
func (q *Query) versions(r store.Reader, collectionID, before int64, kept bool) (list []syncline.Superseded, more bool, err error) {
	size := 0
	found, err := r.RecordsByID(q.EnvironmentID, collectionID, []string{q.ID})
	if err != nil {
		return nil, false, err
	}
	if now := found[q.ID]; now != nil && now.LastAction != "" && (before == 0 || now.Seq < before) {
		list = append(list, syncline.Superseded{Record: *now})
		before, size = now.Seq, len(now.Payload)
	}
	for kept {
		n := min(step, q.Limit+1-len(list))
		older, err := r.History(q.EnvironmentID, collectionID, q.ID, before, n)
		if err != nil {
			return nil, false, err
		}
		for i := range older {
			list = append(list, older[i])
			if len(list) > q.Limit || size > maxBytes {
				return list, true, nil
			}
			before, size = older[i].Seq, size+len(older[i].Payload)
		}
		if len(older) < n {
			break
		}
	}
	return list, false, nil
}

func versionOf(v *syncline.Superseded, older *syncline.Record) (Version, error) {
	out := Version{
		Data: payloadOf(&v.Record), Action: v.LastAction, ModifiedAt: isoTime(v.LastModifiedAt), SupersededAt: isoTimeOrNull(v.At),
		PrunedAt: isoTimeOrNull(v.PrunedAt), Cause: v.Writer.Cause(),
	}
	if older == nil || out.Data == nil || payloadOf(older) == nil {
		return out, nil
	}
	var err error
	out.Diff, err = Diff(older.Payload, v.Payload)
	if err != nil {
		return out, syncline.Errorf(syncline.CodeInternal, "compare versions of record %q: %w", v.ID, err)
	}
	return out, nil
}

// payloadOf is nil for a payload that was pruned.
func payloadOf(r *syncline.Record) json.RawMessage {
	if len(r.Payload) == 0 || !r.PrunedAt.IsZero() {
		return nil
	}
	return r.Payload
}

// kept reports whether a deployed function keeps the model's versions.
func (of *Of) kept(r store.Reader) (bool, error) {
	functions, err := r.Functions(of.EnvironmentID, of.IntegrationID)
	for i := range functions {
		if _, on := functions[i].Active.Manifest.History[of.Model]; on {
			return true, err
		}
	}
	return false, err
}

// runNames finds the uuids of runs, each once.
type runNames struct {
	r     store.Reader
	env   int64
	known map[int64]*string
}

// uuid is nil for a run that is not there any more.
func (n *runNames) uuid(id int64) (*string, error) {
	if uuid, hit := n.known[id]; hit || id == 0 {
		return uuid, nil
	}
	run, err := n.r.Run(n.env, id)
	if err != nil && syncline.CodeOf(err) != syncline.CodeNotFound {
		return nil, err
	}
	var uuid *string
	if err == nil {
		uuid = &run.UUID
	}
	if n.known == nil {
		n.known = map[int64]*string{}
	}
	n.known[id] = uuid
	return uuid, nil
}

func variantName(v string) string {
	if v == "" {
		return syncline.BaseVariant
	}
	return v
}

// timeFormat is that of records: with microseconds, so that what is shown can be
// asked for.
const timeFormat = "2006-01-02T15:04:05.000000-07:00"

func isoTime(t time.Time) string { return t.UTC().Format(timeFormat) }

func isoTimeOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := isoTime(t)
	return &text
}

// Cursors are opaque: what they say, and a letter for which kind they are, in base64.
const (
	versionCursor = "v"
	recordCursor  = "r"
)

func encodeCursor(kind string, says []byte) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte(kind), says...))
}

func decodeCursor(kind, cursor string) ([]byte, error) {
	says, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(cursor, "="))
	if err != nil || !strings.HasPrefix(string(says), kind) || len(says) == len(kind) {
		return nil, badCursor(cursor)
	}
	return says[len(kind):], nil
}

func badCursor(cursor string) error {
	return syncline.Errorf(syncline.CodeInvalid, "cursor is %q, which is not one of this endpoint", cursor).WithField("cursor").
		WithHint("it is next_cursor of the page before")
}

func cursorOf(seq int64) string {
	return encodeCursor(versionCursor, binary.AppendUvarint(nil, uint64(seq)))
}

// positionOf is 0 for no cursor.
func positionOf(cursor string) (int64, error) {
	if cursor == "" {
		return 0, nil
	}
	says, err := decodeCursor(versionCursor, cursor)
	if err != nil {
		return 0, err
	}
	seq, n := binary.Uvarint(says)
	if n != len(says) || seq == 0 || seq > 1<<62 {
		return 0, badCursor(cursor)
	}
	return int64(seq), nil
}
