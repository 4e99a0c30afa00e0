package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
)

// object is one object of the external API. Version grows with each change.
type object struct {
	ID      string `json:"id"`
	Version int    `json:"version"`
	deleted bool
}

// upstream is the external API.
type upstream struct {
	random  *rand.Rand
	objects map[string]*object
	changed int // versions are drawn from one counter: the order of changes
	newest  map[string]int
}

func newUpstream(r *rand.Rand) *upstream {
	return &upstream{random: r, objects: map[string]*object{}, newest: map[string]int{}}
}

// change makes one change and returns what its webhook says.
func (u *upstream) change(maxObjects int) hook {
	u.changed++
	id := strconv.Itoa(u.random.IntN(maxObjects))
	o := u.objects[id]
	switch {
	case o == nil || o.deleted:
		o = &object{ID: id}
		u.objects[id] = o
	case u.random.IntN(5) == 0:
		o.deleted = true
	}
	o.Version = u.changed
	u.newest[id] = u.changed
	return hook{object: *o}
}

// page lists the live objects beyond after, by id.
func (u *upstream) page(after string, limit int) []object {
	var list []object
	for id, o := range u.objects {
		if !o.deleted && id > after {
			list = append(list, *o)
		}
	}
	slices.SortFunc(list, func(a, b object) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return list[:min(limit, len(list))]
}

// hook is a webhook: the object as it was after a change.
type hook struct{ object object }

func (o object) payload() json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"id":%q,"version":%d}`, o.ID, o.Version))
}
