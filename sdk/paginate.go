package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// PaginationType is how an API leads from one page to the next.
type PaginationType string

// The types of pagination.
const (
	LinkPagination   PaginationType = "link"   // each page has the next one's URL
	CursorPagination PaginationType = "cursor" // each page has the next one's cursor
	OffsetPagination PaginationType = "offset" // items, or pages, are counted
)

// Pagination says how an API pages. Fields that are zero are as the provider's
// catalogue entry has them.
type Pagination struct {
	Type PaginationType `json:"type,omitempty"`

	LinkRel  string `json:"link_rel_in_response_header,omitempty"` // of the Link header, such as "next"
	LinkPath string `json:"link_path_in_response_body,omitempty"`

	CursorName string `json:"cursor_name_in_request,omitempty"`
	CursorPath string `json:"cursor_path_in_response,omitempty"`

	OffsetName  string `json:"offset_name_in_request,omitempty"`
	OffsetStart int    `json:"offset_start_value,omitempty"`
	// OffsetMethod is "per-page" to count pages instead of items.
	OffsetMethod string `json:"offset_calculation_method,omitempty"`

	// ResponsePath leads to the list of items in the response; "" is the whole.
	ResponsePath string `json:"response_path,omitempty"`
	LimitName    string `json:"limit_name_in_request,omitempty"`
	Limit        int    `json:"limit,omitempty"`
	// InBody puts what pages into the request's body, which must be a map or a
	// struct: the default for POST, PUT and PATCH.
	InBody *bool `json:"in_body,omitempty"`

	// OnPage, if it is set, gets every response.
	OnPage func(*Response) error `json:"-"`
}

// Paginate requests pages until there are no more, and gives the items of each
// that is not empty. It stops at the first error. p may be nil where the provider
// has a default.
//
//	for page, err := range sdk.Paginate[APIIssue](ctx, h, sdk.Request{Endpoint: "/issues"}, nil) {
//		if err != nil {
//			return err
//		}
//		…
//	}
func Paginate[T any](ctx context.Context, h AnyHandle, r Request, p *Pagination) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		var items []T
		err := h.handle().pages(ctx, r, p, func(raw json.RawMessage) (int, error) {
			items = nil // who got the last page may keep it
			err := json.Unmarshal(raw, &items)
			return len(items), err
		}, func() bool { return yield(items, nil) })
		if err != nil {
			yield(nil, err)
		}
	}
}

// pager goes from page to page.
type pager struct {
	Pagination
	r      Request
	inBody bool
	body   map[string]any
	offset int
	seen   map[string]bool
}

// pages requests pages, decodes the items of each, and hands over those that have
// any until more returns false.
func (h *Handle) pages(ctx context.Context, r Request, p *Pagination, decode func(items json.RawMessage) (int, error), more func() bool) error {
	g, err := newPager(h.s.Context.Paginate, r, p)
	if err != nil {
		return err
	}
	for {
		response, err := h.Do(ctx, g.request())
		if err != nil {
			return err
		}
		if g.OnPage != nil {
			if err := g.OnPage(response); err != nil {
				return err
			}
		}
		raw, err := g.items(response.Body)
		if err != nil {
			return err
		}
		count := 0
		if raw != nil {
			if count, err = decode(raw); err != nil {
				return fmt.Errorf("pagination: a page of %s is not what was expected: %w", response.URL, err)
			}
		}
		next, err := g.next(response, count)
		if err != nil {
			return err
		}
		// A page may be empty: with links there may be more behind it.
		if count > 0 && !more() || next == "" {
			return nil
		}
	}
}

func newPager(defaults json.RawMessage, r Request, p *Pagination) (*pager, error) {
	g := &pager{r: r, seen: map[string]bool{}}
	if len(defaults) > 0 {
		if err := json.Unmarshal(defaults, &g.Pagination); err != nil {
			return nil, fmt.Errorf("pagination: the provider's default: %w", err)
		}
	}
	limited := g.LimitName != "" && r.Query.Has(g.LimitName)
	if p != nil {
		own, err := json.Marshal(p)
		if err == nil {
			err = json.Unmarshal(own, &g.Pagination)
		}
		if err != nil {
			return nil, fmt.Errorf("pagination: %w", err)
		}
		g.OnPage = p.OnPage
		limited = g.LimitName != "" && r.Query.Has(g.LimitName) && p.Limit == 0
	}
	switch {
	case g.Type == "":
		return nil, errors.New("pagination: the provider has no default: give a Pagination with a Type")
	case g.Type == LinkPagination && g.LinkRel == "" && g.LinkPath == "":
		return nil, errors.New("pagination by links needs LinkRel or LinkPath")
	case g.Type == CursorPagination && (g.CursorName == "" || g.CursorPath == ""):
		return nil, errors.New("pagination by cursors needs CursorName and CursorPath")
	case g.Type == OffsetPagination && g.OffsetName == "":
		return nil, errors.New("pagination by offsets needs OffsetName")
	case g.Type != LinkPagination && g.Type != CursorPagination && g.Type != OffsetPagination:
		return nil, fmt.Errorf("pagination: the Type is %q; it takes link, cursor or offset", g.Type)
	}
	g.r.Query = maps.Clone(r.Query)
	if g.r.Query == nil {
		g.r.Query = url.Values{}
	}
	g.inBody = slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch}, strings.ToUpper(r.Method))
	if g.InBody != nil {
		g.inBody = *g.InBody
	}
	if g.inBody {
		if err := g.takeBody(); err != nil {
			return nil, err
		}
		_, inBody := g.body[g.LimitName]
		limited = inBody && (p == nil || p.Limit == 0)
	}
	if g.Limit > 0 && g.LimitName != "" && !limited {
		g.set(g.LimitName, g.Limit)
	}
	if g.offset = g.OffsetStart; g.Type == OffsetPagination {
		g.set(g.OffsetName, g.offset)
	}
	return g, nil
}

// takeBody makes members of the request's body, to which those of the paging are
// added.
func (g *pager) takeBody() error {
	g.body = map[string]any{}
	if g.r.Body == nil {
		return nil
	}
	raw, err := json.Marshal(g.r.Body)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		err = d.Decode(&g.body)
	}
	if err != nil {
		return fmt.Errorf("pagination in the body needs a body that is a JSON object: %w", err)
	}
	return nil
}

func (g *pager) set(name string, v any) {
	if g.inBody {
		g.body[name] = v
	} else {
		g.r.Query.Set(name, fmt.Sprint(v))
	}
}

func (g *pager) request() Request {
	r := g.r
	if g.inBody {
		r.Body = g.body
	}
	return r
}

// items finds the list of a page's items; nil for none.
func (g *pager) items(body []byte) (json.RawMessage, error) {
	raw := bytes.TrimSpace(at(body, g.ResponsePath))
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil, nil
	case raw[0] == '[':
		return raw, nil
	}
	where := "the response"
	if g.ResponsePath != "" {
		where = strconv.Quote(g.ResponsePath) + " in the response"
	}
	return nil, fmt.Errorf("pagination: %s is not a list; set ResponsePath", where)
}

// next prepares the request for the next page; "" when there is none.
func (g *pager) next(r *Response, count int) (string, error) {
	var next string
	switch g.Type {
	case LinkPagination:
		if g.LinkRel != "" {
			next = linkOf(r.Header.Get("Link"), g.LinkRel)
		} else {
			next = text(at(r.Body, g.LinkPath))
		}
	case CursorPagination:
		if count > 0 {
			next = strings.TrimSpace(text(at(r.Body, g.CursorPath)))
		}
	default:
		if count > 0 && (g.Limit == 0 || count >= g.Limit) {
			step := count
			if g.OffsetMethod == "per-page" {
				step = 1
			}
			g.offset += step
			next = strconv.Itoa(g.offset)
		}
	}
	if next == "" {
		return "", nil
	}
	if g.seen[next] {
		return "", fmt.Errorf("pagination: the API sent the same next page twice (%.200s); stopping instead of looping forever", next)
	}
	g.seen[next] = true
	switch g.Type {
	case LinkPagination:
		// The link has the query in it already.
		g.r.Endpoint, g.r.Query = next, url.Values{}
	case CursorPagination:
		g.set(g.CursorName, next)
	default:
		g.set(g.OffsetName, g.offset)
	}
	return next, nil
}

var index = regexp.MustCompile(`\[(\w+)\]`)

// at is what a path such as "data.items[0].id" leads to; nil when it leads
// nowhere. A name with dots in it ("@odata.nextLink") is one step where the value
// has it.
func at(raw json.RawMessage, path string) json.RawMessage {
	if path == "" {
		return raw
	}
	if v, ok := member(raw, path); ok {
		return v
	}
	for step := range strings.SplitSeq(index.ReplaceAllString(path, ".$1"), ".") {
		v, ok := member(raw, step)
		if !ok {
			return nil
		}
		raw = v
	}
	return raw
}

func member(raw json.RawMessage, name string) (json.RawMessage, bool) {
	switch raw = bytes.TrimLeft(raw, " \t\r\n"); {
	case len(raw) == 0:
		return nil, false
	case raw[0] == '{':
		var m map[string]json.RawMessage
		if json.Unmarshal(raw, &m) != nil {
			return nil, false
		}
		v, ok := m[name]
		return v, ok
	case raw[0] == '[':
		var list []json.RawMessage
		if n, err := strconv.Atoi(name); err == nil && json.Unmarshal(raw, &list) == nil && n >= 0 && n < len(list) {
			return list[n], true
		}
	}
	return nil, false
}

// text is a string, or another value as JSON; "" for null and nothing.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	if s = string(raw); s == "null" || s == "false" {
		return ""
	}
	return s
}

var link = regexp.MustCompile(`(?s)<([^>]*)>([^<]*)`)

// linkOf is the target of a relation in a Link header; "" for none.
func linkOf(header, rel string) string {
	for _, m := range link.FindAllStringSubmatch(header, -1) {
		for p := range strings.SplitSeq(strings.TrimRight(m[2], ", "), ";") {
			name, value, _ := strings.Cut(p, "=")
			if strings.EqualFold(strings.TrimSpace(name), "rel") &&
				slices.Contains(strings.Fields(strings.Trim(strings.TrimSpace(value), `"`)), rel) {
				return m[1]
			}
		}
	}
	return ""
}
