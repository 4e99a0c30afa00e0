package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"time"

	"syncline/internal/fn"
)

// Model is a kind of records: those of type T under one name. A sync declares
// its models; the zero value is the model that is named as the type.
type Model[T any] struct {
	// Name is what readers of the cache ask for (GET /records?model=…): letters,
	// digits and _. "" is the name of the type T.
	Name string
	// Merge is how writes meet what the cache holds, set at the start of every run;
	// the zero value is [Override]. [Records.SetMergingStrategy] sets it in a run.
	Merge Strategy
	// TrackDeletes says that every poll lists all there is: records that it did not
	// save, and that nobody else touched since it began, are deleted when it
	// succeeds. Not for polls that ask for changes only.
	TrackDeletes bool
	// IgnoredFields are fields whose changes are none; dotted names lead into nested
	// objects.
	IgnoredFields []string
	// History keeps superseded versions of records for that long; 0 keeps none.
	History time.Duration
	// Schema is the JSON Schema of T, where it cannot be derived from the type.
	Schema json.RawMessage
}

// AnyModel is a [Model] of any type.
type AnyModel interface {
	Schema
	options() modelOptions
}

type modelOptions struct {
	name         string
	merge        Strategy
	trackDeletes bool
	ignored      []string
	history      time.Duration
}

var _ AnyModel = Model[struct{}]{}

func (m Model[T]) schema() (json.RawMessage, error) {
	if len(m.Schema) > 0 {
		if !json.Valid(m.Schema) {
			return nil, fmt.Errorf("the Schema is not JSON")
		}
		return m.Schema, nil
	}
	return schemaOf[T]()
}

func (m Model[T]) options() modelOptions {
	return modelOptions{m.name(), m.Merge, m.TrackDeletes, m.IgnoredFields, m.History}
}

func (m Model[T]) name() string {
	if m.Name != "" {
		return m.Name
	}
	t := reflect.TypeFor[T]()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name, _, _ := strings.Cut(t.Name(), "[") // a generic type is named without its arguments
	return name
}

// Of is the model's records, as far as the run of h may see and change them. The
// model must be one that the sync declares.
func (m Model[T]) Of(h AnyHandle) *Records[T] { return &Records[T]{h.handle(), m.name()} }

// Strategy is how writes meet what the cache holds.
type Strategy struct{ name, field string }

// The strategies; see also [KeepNewest].
var (
	// Override writes what comes, whatever the cache holds.
	Override = Strategy{name: "override"}
	// IgnoreIfModifiedAfter keeps records that someone else changed after the data
	// that is being saved may have been fetched: a slow poll does not overwrite what
	// a webhook wrote meanwhile.
	IgnoreIfModifiedAfter = Strategy{name: "ignore_if_modified_after"}
)

// KeepNewest compares a field of the record, a version or a time: older never
// wins. A dotted name leads into nested objects.
func KeepNewest(field string) Strategy { return Strategy{"keep_newest", field} }

// Records are the records of one model and connection. A webhook run sees its
// own writes.
type Records[T any] struct {
	h     *Handle
	model string
}

type modelArgs struct {
	Model string `json:"model"`
}

type batchArgs[T any] struct {
	Model   string `json:"model"`
	Records []T    `json:"records"`
}

// BatchSave saves whole records. Equal ids: the last counts. A batch with a
// mistake is refused whole.
func (r *Records[T]) BatchSave(ctx context.Context, records ...T) error {
	return batch(ctx, r.h, fn.MethodBatchSave, r.model, records)
}

// Patch is part of a record: its "id", and the fields that change.
type Patch map[string]any

// BatchUpdate merges objects member by member into cached records and replaces
// everything else, lists included. Ids that are not cached are not applied,
// counted, and warned of.
func (r *Records[T]) BatchUpdate(ctx context.Context, patches ...Patch) error {
	return batch(ctx, r.h, fn.MethodBatchUpdate, r.model, patches)
}

// BatchDelete deletes records by their ids. Their last payload is kept. Ids that
// are not cached are counted, and warned of.
func (r *Records[T]) BatchDelete(ctx context.Context, ids ...string) error {
	patches := make([]Patch, len(ids))
	for i, id := range ids {
		patches[i] = Patch{"id": id}
	}
	return r.BatchDeleteVersions(ctx, patches...)
}

// BatchDeleteVersions is BatchDelete under [KeepNewest]: beside its "id" each
// patch has the field that is compared, so that a deletion that is older than
// what the cache holds is ignored.
func (r *Records[T]) BatchDeleteVersions(ctx context.Context, patches ...Patch) error {
	return batch(ctx, r.h, fn.MethodBatchDelete, r.model, patches)
}

func batch[T any](ctx context.Context, h *Handle, method, model string, records []T) error {
	if len(records) == 0 {
		return nil
	}
	return h.call(ctx, method, batchArgs[T]{model, records}, nil)
}

// GetRecordsByIDs returns the cached records among ids, by id; absent and deleted
// ones are left out.
func (r *Records[T]) GetRecordsByIDs(ctx context.Context, ids ...string) (map[string]T, error) {
	found := map[string]T{}
	if len(ids) == 0 {
		return found, nil
	}
	err := r.h.call(ctx, fn.MethodGetRecordsByIDs, struct {
		Model string   `json:"model"`
		IDs   []string `json:"ids"`
	}{r.model, ids}, &found)
	return found, err
}

// ListRecords goes through the model's live records. It stops at the first error.
func (r *Records[T]) ListRecords(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		type args struct {
			Model  string `json:"model"`
			Cursor string `json:"cursor,omitempty"`
		}
		for cursor := ""; ; {
			var page struct {
				Records    []T    `json:"records"`
				NextCursor string `json:"next_cursor"`
			}
			if err := r.h.call(ctx, fn.MethodListRecords, args{r.model, cursor}, &page); err != nil {
				yield(*new(T), err)
				return
			}
			for _, record := range page.Records {
				if !yield(record, nil) {
					return
				}
			}
			if cursor = page.NextCursor; cursor == "" {
				return
			}
		}
	}
}

// SetMergingStrategy sets how this run's writes to the model meet what the cache
// holds.
func (r *Records[T]) SetMergingStrategy(ctx context.Context, s Strategy) error {
	return setMergingStrategy(ctx, r.h, r.model, s)
}

func setMergingStrategy(ctx context.Context, h *Handle, model string, s Strategy) error {
	return h.call(ctx, fn.MethodSetMergingStrategy, struct {
		Model    string `json:"model"`
		Strategy string `json:"strategy"`
		Field    string `json:"field,omitempty"`
	}{model, s.name, s.field}, nil)
}

// TrackDeletesStart begins a complete listing: at [Records.TrackDeletesEnd],
// records that nobody touched in between are deleted, once the run succeeds. Only
// in Exec. [Model.TrackDeletes] does both by itself.
func (r *Records[T]) TrackDeletesStart(ctx context.Context) error {
	return r.h.call(ctx, fn.MethodTrackDeletesStart, modelArgs{r.model}, nil)
}

// TrackDeletesEnd ends what TrackDeletesStart began.
func (r *Records[T]) TrackDeletesEnd(ctx context.Context) error {
	return r.h.call(ctx, fn.MethodTrackDeletesEnd, modelArgs{r.model}, nil)
}

// DeleteRecordsFromPreviousExecutions ends the delete tracking that began with
// the run and returns the ids of what it deletes.
//
// Deprecated: use [Model.TrackDeletes].
func (r *Records[T]) DeleteRecordsFromPreviousExecutions(ctx context.Context) ([]string, error) {
	var out struct {
		DeletedKeys []string `json:"deletedKeys"`
	}
	err := r.h.call(ctx, fn.MethodDeletePrevious, modelArgs{r.model}, &out)
	return out.DeletedKeys, err
}
