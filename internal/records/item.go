package records

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf8"

	"syncline"
)

// Op is what a batch does.
type Op int

// The operations.
const (
	OpSave   Op = iota + 1 // replace the whole record
	OpUpdate               // deep-merge into the stored record
	OpDelete               // mark deleted
)

// String is the operation's name in the functions SDK.
func (op Op) String() string {
	switch op {
	case OpSave:
		return "batchSave"
	case OpUpdate:
		return "batchUpdate"
	case OpDelete:
		return "batchDelete"
	}
	return "unknown operation"
}

// MaxIDLength is how long a record's id may be, in bytes.
const MaxIDLength = 1024

// MaxRecordBytes is how large one record may be. It is generous: a record is
// a row, not a file.
const MaxRecordBytes = 8 << 20

// Item is one checked record of a batch.
type Item struct {
	ID      string
	Payload json.RawMessage // OpSave: the record; OpUpdate: the part to merge
	Hash    []byte          // OpSave only
	Version string          // under keep_newest; "" for a delete without one
}

// Batch is a checked batch of one operation on one collection. Making it costs
// the hashes; applying it does not.
type Batch struct {
	Op    Op
	Items []Item // in the order given; of equal ids the last counts (OpUpdate merges them in order)
	Bytes int    // size of all payloads
}

// NewBatch checks records and computes their identity. The error names the
// index of the first bad record and what is wrong with it.
func NewBatch(op Op, model string, raws []json.RawMessage) (*Batch, error) {
	return newBatch(op, model, raws, Rules{})
}

func newBatch(op Op, model string, raws []json.RawMessage, rules Rules) (*Batch, error) {
	b := &Batch{Op: op, Items: make([]Item, 0, len(raws))}
	for i, raw := range raws {
		item, err := newItem(op, raw, rules)
		if err != nil {
			e := syncline.Errorf(syncline.CodeOf(err), "%s(%s): record %d: %w", op, model, i, err)
			return nil, e.WithField(model + "[" + strconv.Itoa(i) + "]")
		}
		b.Items = append(b.Items, item)
		b.Bytes += len(item.Payload)
	}
	return b, nil
}

func newItem(op Op, raw json.RawMessage, rules Rules) (Item, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '{' {
		return Item{}, syncline.Errorf(syncline.CodeInvalid, "is not an object but %s", kindOf(raw))
	}
	if len(raw) > MaxRecordBytes {
		return Item{}, syncline.Errorf(syncline.CodeTooLarge, "has %d bytes; the limit for one record is %d (8 MiB)", len(raw), MaxRecordBytes).
			WithHint("leave out fields that the app does not need, or keep large content elsewhere and save a link")
	}
	item := Item{Payload: raw}
	c := newCanonicalizer(raw)
	defer c.release()
	hash, err := c.hash() // of a part too: it finds the id, and what is wrong
	if err != nil {
		return Item{}, err
	}
	if item.ID, err = ParseID(c.id); err != nil {
		return Item{}, err
	}
	if op == OpSave {
		item.Hash = hash
		if len(rules.Ignored) > 0 {
			if item.Hash, err = rules.hash(raw); err != nil {
				return Item{}, err
			}
		}
	}
	if rules.Version != "" {
		if item.Version, err = versionOf(raw, rules.Version); err != nil {
			return Item{}, err
		}
		if item.Version == "" && op != OpDelete {
			return Item{}, syncline.Errorf(syncline.CodeInvalid, "has no %s", rules.Version).
				WithHint("under keep_newest every record that is saved or updated needs the field that is compared")
		}
	}
	return item, nil
}

// ParseID reads an external id as functions give it: a string as it is, a
// number in its shortest decimal form.
func ParseID(raw json.RawMessage) (string, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return "", syncline.Errorf(syncline.CodeInvalid, "has no id").
			WithHint("every record needs an id: a string or a number that is the same each time the object is seen")
	}
	if raw[0] != '"' {
		if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
			return "", syncline.Errorf(syncline.CodeInvalid, "has an id that is %s, not a string or a number", kindOf(raw))
		}
		id, err := Canonical(raw)
		return string(id), err
	}
	id, ok := plainString(raw)
	if ok {
		// Nothing to decode.
	} else if err := json.Unmarshal(raw, &id); err != nil {
		return "", syncline.Errorf(syncline.CodeInvalid, "has an unreadable id: %w", err)
	}
	switch {
	case id == "":
		return "", syncline.Errorf(syncline.CodeInvalid, "has an empty id")
	case len(id) > MaxIDLength:
		return "", syncline.Errorf(syncline.CodeInvalid, "has an id of %d bytes; the limit is %d", len(id), MaxIDLength)
	case !utf8.ValidString(id):
		return "", syncline.Errorf(syncline.CodeInvalid, "has an id that is not valid UTF-8")
	}
	return id, nil
}

// plainString reads a JSON string of ASCII without escapes.
func plainString(raw []byte) (string, bool) {
	n := len(raw) - 1
	if n < 1 || raw[n] != '"' || plainBytes(raw[1:n]) != n-1 || !isASCII(raw) {
		return "", false
	}
	return string(raw[1:n]), true
}

func kindOf(raw []byte) string {
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// Chunks splits a batch into parts of at most n items, so that a large one
// does not hold the store for long. Of equal ids only the one that counts stays.
func (b *Batch) Chunks(n int) []*Batch {
	if len(b.Items) <= n {
		return []*Batch{b}
	}
	items := b.Items
	if b.Op != OpUpdate {
		last := make(map[string]int, len(items))
		for i, item := range items {
			last[item.ID] = i
		}
		items = make([]Item, 0, len(last))
		for i, item := range b.Items {
			if last[item.ID] == i {
				items = append(items, item)
			}
		}
	}
	var chunks []*Batch
	for part := range slices.Chunk(items, n) {
		c := &Batch{Op: b.Op, Items: part}
		for _, item := range part {
			c.Bytes += len(item.Payload)
		}
		chunks = append(chunks, c)
	}
	return chunks
}
