package host

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"syncline"
	"syncline/internal/feed"
	"syncline/internal/records"
	"syncline/internal/store"
)

// The size of one page of listRecords.
const (
	listPage  = 500
	listBytes = 4 << 20
)

// stagedCursor is the cursor of what a webhook run wrote and the cache does not
// have yet: it comes after everything else.
const stagedCursor = "staged"

// listRecords returns one page of a model's live records, in the order in which
// they were changed last, as the overlay will leave them.
func (s *session) listRecords(ctx context.Context, raw json.RawMessage, overlay *records.Overlay) (json.RawMessage, error) {
	var args struct {
		Model  string `json:"model"`
		Cursor string `json:"cursor"`
	}
	if err := decode(raw, &args); err != nil {
		return nil, err
	}
	if err := s.declared(args.Model); err != nil {
		return nil, err
	}
	var page []byte
	next := ""
	emit := func(rec *syncline.Record, cursor string) {
		if rec == nil || rec.Deleted() || rec.LastAction == "" {
			return
		}
		if len(page) > 0 {
			page = append(page, ',')
		}
		page = feed.AppendChange(page, &syncline.Change{Record: *rec, Cursor: cursor})
	}
	model := s.collection(args.Model)
	err := s.deps.Store.View(ctx, func(r store.Reader) error {
		page, next = nil, ""
		coll, err := r.Collection(s.subject.Environment.ID, s.subject.Connection.ID, model)
		if err != nil && syncline.CodeOf(err) != syncline.CodeNotFound {
			return err
		}
		if err != nil || args.Cursor == stagedCursor {
			return s.listStaged(r, overlay, model, emit)
		}
		after, at, err := feed.Position(args.Cursor, coll.ID)
		if err != nil {
			return err
		}
		var rows []*syncline.Record
		bytes := 0
		err = r.ScanRecords(s.subject.Environment.ID, coll.ID, store.RecordQuery{After: after, ModifiedAfter: at, Limit: listPage}, func(rec *syncline.Record) bool {
			rows = append(rows, rec)
			bytes += len(rec.Payload)
			return bytes < listBytes
		})
		if err != nil {
			return err
		}
		ids := make([]string, len(rows))
		for i, rec := range rows {
			ids[i] = rec.ID
		}
		now := map[string]*syncline.Record{}
		if overlay.Writes(model) {
			if now, err = overlay.Read(r, model, ids); err != nil {
				return err
			}
		}
		for _, rec := range rows {
			cursor := feed.Cursor(coll.ID, rec.Seq)
			if staged, ok := now[rec.ID]; ok {
				rec = staged
			}
			emit(rec, cursor)
		}
		switch {
		case len(rows) == listPage || bytes >= listBytes:
			next = feed.Cursor(coll.ID, rows[len(rows)-1].Seq)
		case overlay.Writes(model):
			next = stagedCursor
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Records    json.RawMessage `json:"records"`
		NextCursor *string         `json:"next_cursor"`
	}{slices.Concat([]byte("["), page, []byte("]")), orNil(next)})
}

// listStaged emits the records that only the overlay has.
func (s *session) listStaged(r store.Reader, overlay *records.Overlay, model string, emit func(*syncline.Record, string)) error {
	ids := overlay.IDs(model)
	if len(ids) == 0 {
		return nil
	}
	committed, err := records.NewOverlay(s.subject.Environment.ID, s.subject.Connection.ID).Read(r, model, ids)
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return committed[id] != nil && committed[id].LastAction != "" })
	slices.SortFunc(ids, strings.Compare)
	now, err := overlay.Read(r, model, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		emit(now[id], stagedCursor)
	}
	return nil
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
