package feed

import (
	"bytes"
	"encoding/json"
	"time"

	"syncline"
)

// timeFormat is Nango's: ISO 8601 with microseconds and a numeric offset.
const timeFormat = "2006-01-02T15:04:05.000000-07:00"

// AppendJSON appends the page in Nango's shape to dst:
//
//	{"records": [{…payload, "_nango_metadata": {…}}, …], "next_cursor": "…" or null}
//
// Payloads are spliced in as they are stored, not read again.
func (p Page) AppendJSON(dst []byte) []byte {
	size := 64
	for i := range p.Changes {
		size += len(p.Changes[i].Payload) + 360
	}
	if free := cap(dst) - len(dst); free < size {
		dst = append(make([]byte, 0, len(dst)+size), dst...)
	}
	dst = append(dst, `{"records":[`...)
	for i := range p.Changes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendChange(dst, &p.Changes[i])
	}
	return appendEnd(dst, p.NextCursor)
}

// AppendChange appends one change: the members of its payload, then
// _nango_metadata. Of a record whose payload was pruned, the id is left.
func AppendChange(dst []byte, c *syncline.Change) []byte {
	payload := bytes.TrimSpace(c.Payload)
	if len(payload) < 2 || payload[0] != '{' || !c.PrunedAt.IsZero() {
		id, _ := json.Marshal(c.ID) // a string always has a JSON form
		dst = append(dst, `{"id":`...)
		dst = append(dst, id...)
		dst = append(dst, ',')
	} else {
		members := bytes.TrimRight(payload[:len(payload)-1], " \t\r\n")
		dst = append(dst, members...)
		if len(members) > 1 {
			dst = append(dst, ',')
		}
	}
	dst = append(dst, `"_nango_metadata":{"first_seen_at":`...)
	dst = appendTime(dst, c.FirstSeenAt)
	dst = append(dst, `,"last_modified_at":`...)
	dst = appendTime(dst, c.LastModifiedAt)
	dst = append(dst, `,"last_action":"`...)
	dst = append(dst, c.LastAction...)
	dst = append(dst, `","deleted_at":`...)
	dst = appendTime(dst, c.DeletedAt)
	dst = append(dst, `,"pruned_at":`...)
	dst = appendTime(dst, c.PrunedAt)
	dst = append(dst, `,"cursor":"`...)
	dst = append(dst, c.Cursor...)
	return append(dst, `"}}`...)
}

func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	dst = t.UTC().AppendFormat(dst, timeFormat)
	return append(dst, '"')
}
