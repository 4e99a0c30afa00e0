package schema

import (
	"container/list"
	"crypto/sha256"
	"encoding/json"
	"sync"
)

// Compile compiles a schema, or returns what was compiled of the same text
// before. An error is a [*syncline.Error] with [syncline.CodeInvalid] that
// says what the schema may not hold.
func Compile(raw json.RawMessage) (*Schema, error) { return compiled.get(raw, whole) }

// Partial compiles a schema for documents that are merged into others: no
// member is required, in nested objects neither. Arrays replace each other as
// a whole, so that what they hold is checked in full.
func Partial(raw json.RawMessage) (*Schema, error) { return compiled.get(raw, partial) }

// Member compiles what a schema says of one member of an object; nil when it
// says nothing.
func Member(raw json.RawMessage, name string) (*Schema, error) { return compiled.get(raw, name) }

// What of a schema is compiled: all of it, its partial form, or a member. The
// first two are no names of members.
const (
	whole   = ""
	partial = "\x00partial"
)

// What the cache holds at most.
const (
	maxCached = 4096
	// maxCachedBytes is of the schemas' text; compiled they take a multiple.
	maxCachedBytes = 16 << 20
)

var compiled = &cache{entries: map[key]*list.Element{}}

type key struct {
	hash [sha256.Size]byte
	part string
}

type entry struct {
	key    key
	schema *Schema
	err    error
	size   int
}

// cache keeps what was used last.
type cache struct {
	mu      sync.Mutex
	entries map[key]*list.Element
	order   list.List // of *entry; the last used first
	size    int
}

func (c *cache) get(raw json.RawMessage, part string) (*Schema, error) {
	if len(raw) > maxSchema {
		return nil, refused("it has %d bytes; the limit is %d", len(raw), maxSchema)
	}
	k := key{sha256.Sum256(raw), part}
	c.mu.Lock()
	if e, ok := c.entries[k]; ok {
		c.order.MoveToFront(e)
		c.mu.Unlock()
		found := e.Value.(*entry)
		return found.schema, found.err
	}
	c.mu.Unlock()
	s, err := prepare(raw, part)
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[k]; ok { // someone was faster
		found := e.Value.(*entry)
		return found.schema, found.err
	}
	c.entries[k] = c.order.PushFront(&entry{k, s, err, len(raw)})
	c.size += len(raw)
	for len(c.entries) > maxCached || (c.size > maxCachedBytes && len(c.entries) > 1) {
		last := c.order.Remove(c.order.Back()).(*entry)
		delete(c.entries, last.key)
		c.size -= last.size
	}
	return s, err
}
