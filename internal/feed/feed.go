// Package feed reads collections as streams of changes: pages in the order of
// positions, from a cursor on, in small chunks, and from a replica where there
// is one. It owns the cursors and the JSON of a page, and must not know who asks
// (HTTP, files, tests) or how records came to be.
package feed

import (
	"context"
	"slices"
	"strings"
	"time"

	"syncline"
	"syncline/internal/store"
)

// The limits of one page.
const (
	DefaultLimit  = 100
	MaxLimit      = 10_000
	MaxIDs        = 100
	DefaultBudget = 32 << 20 // bytes
)

// Query selects a page of one collection.
type Query struct {
	EnvironmentID int64
	IntegrationID int64
	ConnectionID  int64  // internal id
	Model         string // without the variant
	Variant       string // "" or "base": the base variant
	// Cursor is where to go on: a change's or a page's cursor, or one that was
	// persisted from Nango. "" starts at the beginning.
	Cursor string
	// Limit is how many changes a page has at most; 0 is [DefaultLimit], the
	// most is [MaxLimit].
	Limit int
	// Actions keeps changes whose record's last action is among them; empty: all.
	Actions []syncline.Action
	// IDs keeps records with these external ids, at most [MaxIDs]; nil: all.
	IDs []string
	// ModifiedAfter keeps changes made at or after it; zero: all.
	ModifiedAfter time.Time
	// Budget ends a page early when the JSON of its records would have more
	// bytes than this; a page has at least one change whatever its size. 0 is
	// [DefaultBudget].
	Budget int
}

// Page is one page of changes, in the order of their positions.
type Page struct {
	Changes []syncline.Change
	// NextCursor is where the next page begins; "" when this one is the last.
	NextCursor string
}

// Read is [Source.Read] of a store without a replica.
func Read(ctx context.Context, s store.Store, q Query) (Page, error) {
	return (&Source{Store: s}).Read(ctx, q)
}

func (q *Query) check() error {
	switch {
	case q.Limit < 0 || q.Limit > MaxLimit:
		return syncline.Errorf(syncline.CodeInvalid, "limit is %d; it must be between 1 and %d", q.Limit, MaxLimit).WithField("limit")
	case len(q.IDs) > MaxIDs:
		return syncline.Errorf(syncline.CodeInvalid, "ids holds %d ids; the most is %d", len(q.IDs), MaxIDs).WithField("ids")
	}
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	if q.Budget == 0 {
		q.Budget = DefaultBudget
	}
	return nil
}

// start is the position after which to read for cursor c, if the collection
// can still be read from there without missing a deletion.
func start(r store.Reader, q Query, coll *syncline.Collection, c cursor) (int64, error) {
	switch {
	case c.collection == 0 && c.at.IsZero():
		return 0, nil
	case c.collection == 0:
		return 0, checkTime(r, q, coll, c.at)
	case c.collection != coll.ID:
		return 0, errOtherCollection(q)
	case c.seq < coll.PurgedSeq && c.began != coll.PurgedSeq:
		return 0, errPurged(q)
	case c.seq > coll.LastSeq:
		return 0, errBeyond(q)
	}
	return c.seq, nil
}

// checkTime refuses a time from which a deletion may be missed. Times never
// decrease with positions, so what lies beyond the removed positions tells.
func checkTime(r store.Reader, q Query, coll *syncline.Collection, at time.Time) error {
	if coll.PurgedSeq == 0 {
		return nil
	}
	oldest := coll.LastModifiedAt
	err := r.ScanRecords(q.EnvironmentID, coll.ID, store.RecordQuery{After: coll.PurgedSeq, Limit: 1}, func(rec *syncline.Record) bool {
		oldest = rec.LastModifiedAt
		return false
	})
	if err != nil {
		return err
	}
	if !at.After(oldest) {
		return errPurged(q)
	}
	return nil
}

func errPurged(q Query) error {
	return syncline.Errorf(syncline.CodeInvalid, "the cursor is too old: records of %s that were deleted after it have been removed for good, so that going on from it would miss deletions", q.Model).
		WithHint("read again without a cursor, and delete on your side what does not come any more").WithField("cursor")
}

func errBeyond(q Query) error {
	return syncline.Errorf(syncline.CodeInvalid, "the cursor is beyond the newest record of %s: the data of this server is older than what was read with the cursor", q.Model).
		WithHint("the server may have been restored from a backup; read without a cursor, and take what is there as the whole state").WithField("cursor")
}

func errOtherCollection(q Query) error {
	return syncline.Errorf(syncline.CodeInvalid, "the cursor does not belong to the model %s of this connection", syncline.CollectionModel(q.Model, q.Variant)).
		WithHint("keep one cursor for each connection, model and variant; for a connection that was made anew, start without a cursor").WithField("cursor")
}

// declared is nil when a deployed sync of the integration has the model.
func declared(r store.Reader, q Query) error {
	functions, err := r.Functions(q.EnvironmentID, q.IntegrationID)
	if err != nil {
		return err
	}
	var models []string
	for i := range functions {
		if functions[i].Type != syncline.FunctionSync {
			continue
		}
		for model := range functions[i].Active.Manifest.Models {
			if model == q.Model {
				return nil
			}
			models = append(models, model)
		}
	}
	e := syncline.Errorf(syncline.CodeInvalid, "no deployed sync of this integration has a model %q", q.Model).WithField("model")
	if len(models) == 0 {
		return e.WithHint("deploy a sync that declares it")
	}
	slices.Sort(models)
	return e.WithHint("its models are %s", strings.Join(slices.Compact(models), ", "))
}

// ParseActions reads a filter: any combination of added, updated and deleted,
// separated by commas. "" is nil: all.
func ParseActions(filter string) ([]syncline.Action, error) {
	if filter == "" {
		return nil, nil
	}
	var actions []syncline.Action
	for word := range strings.SplitSeq(filter, ",") {
		a := syncline.Action(strings.ToUpper(strings.TrimSpace(word)))
		switch a {
		case syncline.ActionAdded, syncline.ActionUpdated, syncline.ActionDeleted:
		default:
			return nil, syncline.Errorf(syncline.CodeInvalid, "filter names %q", word).
				WithHint("write any of added, updated and deleted, separated by commas").WithField("filter")
		}
		if !slices.Contains(actions, a) {
			actions = append(actions, a)
		}
	}
	return actions, nil
}
