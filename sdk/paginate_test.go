package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/gofn"
)

// api answers requests of a pagination and notes them.
type api struct {
	asked  []string
	answer func(n int, a *fn.HTTPArgs) fn.HTTPResult
}

func (p *api) Call(_ context.Context, _ string, raw json.RawMessage) (json.RawMessage, error) {
	var a fn.HTTPArgs
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, err
	}
	line := a.Endpoint
	if a.Query != "" {
		line += "?" + a.Query
	}
	if a.Body != nil {
		line += " " + *a.Body
	}
	p.asked = append(p.asked, line)
	r := p.answer(len(p.asked), &a)
	if r.Status == 0 {
		r.Status = 200
	}
	return json.Marshal(r)
}

func (*api) Log(syncline.LogLine) {}

// paged runs a pagination and returns the pages.
func paged(t *testing.T, p *api, defaults string, r Request, o *Pagination, most int) (pages [][]int, err error) {
	t.Helper()
	functions, compileErr := Functions{OnEvent{Name: "f", Integration: "i", Event: ValidateConnection, Exec: func(ctx context.Context, h *Handle) error {
		for page, err := range Paginate[int](ctx, h, r, o) {
			if err != nil {
				return err
			}
			if pages = append(pages, page); len(pages) == most {
				break
			}
		}
		return nil
	}}}.Compile()
	if compileErr != nil {
		t.Fatal(compileErr)
	}
	registry, compileErr := gofn.NewRegistry("b", functions)
	if compileErr != nil {
		t.Fatal(compileErr)
	}
	runner := gofn.Runner{Registry: registry}
	_, err = runner.Run(t.Context(), fn.Call{
		Engine: syncline.EngineGo, Entry: fn.EntryExec, BundleHash: registry.Versions()[0].Hash, Context: fn.Context{Paginate: json.RawMessage(defaults)},
	}, p)
	return pages, err
}

func bodies(list ...string) func(int, *fn.HTTPArgs) fn.HTTPResult {
	return func(n int, _ *fn.HTTPArgs) fn.HTTPResult { return fn.HTTPResult{Body: list[min(n, len(list))-1]} }
}

func TestPagination(t *testing.T) {
	t.Parallel()
	links := func(list ...string) func(int, *fn.HTTPArgs) fn.HTTPResult {
		return func(n int, _ *fn.HTTPArgs) fn.HTTPResult {
			return fn.HTTPResult{Body: fmt.Sprintf("[%d]", n), Headers: map[string]string{"link": list[n-1]}}
		}
	}
	no := false
	for name, c := range map[string]struct {
		defaults string
		r        Request
		o        *Pagination
		answer   func(int, *fn.HTTPArgs) fn.HTTPResult
		most     int
		asked    []string
		pages    string
	}{
		"links of the header have the query in them": {
			r: Request{Endpoint: "/a", Query: url.Values{"s": {"x"}}}, o: &Pagination{Type: LinkPagination, LinkRel: "next", LimitName: "per", Limit: 2},
			answer: links(`<https://h/a?p=0>; rel="prev", <https://h/a?p=2,3>; title="x, y"; rel="last next"`, `<https://h/a?p=0>; rel="prev"`),
			asked:  []string{"/a?per=2&s=x", "https://h/a?p=2,3"}, pages: "[[1] [2]]",
		},
		"links of the body, with an empty page between": {
			defaults: `{"type":"link","link_path_in_response_body":"@odata.nextLink","response_path":"value"}`, r: Request{Endpoint: "/a"},
			answer: bodies(`{"value":[1],"@odata.nextLink":"https://h/2"}`, `{"value":[],"@odata.nextLink":"https://h/3"}`, `{"value":[3],"@odata.nextLink":null}`),
			asked:  []string{"/a", "https://h/2", "https://h/3"}, pages: "[[1] [3]]",
		},
		"cursors": {
			r: Request{Endpoint: "/a", Query: url.Values{"s": {"x"}}}, o: &Pagination{Type: CursorPagination, CursorName: "c", CursorPath: "meta.pages[0].next", ResponsePath: "data.items"},
			answer: bodies(`{"data":{"items":[1,2]},"meta":{"pages":[{"next":" abc "}]}}`, `{"data":{"items":[3]},"meta":{"pages":[{"next":12}]}}`, `{"data":{"items":[4]},"meta":{}}`),
			asked:  []string{"/a?s=x", "/a?c=abc&s=x", "/a?c=12&s=x"}, pages: "[[1 2] [3] [4]]",
		},
		"cursors in the body": {
			r: Request{Method: "POST", Endpoint: "/a", Body: map[string]any{"q": "x"}}, o: &Pagination{Type: CursorPagination, CursorName: "c", CursorPath: "next", ResponsePath: "items", LimitName: "n", Limit: 5},
			answer: bodies(`{"items":[1],"next":"abc"}`, `{"items":[]}`), asked: []string{`/a {"n":5,"q":"x"}`, `/a {"c":"abc","n":5,"q":"x"}`}, pages: "[[1]]",
		},
		"cursors beside a body": {
			r: Request{Method: "POST", Endpoint: "/a", Body: "q"}, o: &Pagination{Type: CursorPagination, CursorName: "c", CursorPath: "next", ResponsePath: "items", InBody: &no},
			answer: bodies(`{"items":[1],"next":"abc"}`, `{"items":[2]}`), asked: []string{`/a q`, `/a?c=abc q`}, pages: "[[1] [2]]",
		},
		"offsets of items": {
			r: Request{Endpoint: "/a"}, o: &Pagination{Type: OffsetPagination, OffsetName: "o"}, answer: bodies(`[1,2]`, `[3]`, `[]`),
			asked: []string{"/a?o=0", "/a?o=2", "/a?o=3"}, pages: "[[1 2] [3]]",
		},
		"offsets of pages, until one is not full": {
			defaults: `{"type":"offset","offset_name_in_request":"page","offset_start_value":1,"offset_calculation_method":"per-page","limit":100,"limit_name_in_request":"n"}`,
			r:        Request{Endpoint: "/a"}, o: &Pagination{Limit: 2}, answer: bodies(`[1,2]`, `[3]`), asked: []string{"/a?n=2&page=1", "/a?n=2&page=2"}, pages: "[[1 2] [3]]",
		},
		"a limit of the request's own stays": {
			defaults: `{"type":"offset","offset_name_in_request":"o","limit":100,"limit_name_in_request":"n"}`,
			r:        Request{Endpoint: "/a", Query: url.Values{"n": {"7"}}}, answer: bodies(`[1]`), asked: []string{"/a?n=7&o=0"}, pages: "[[1]]",
		},
		"who has enough stops": {
			r: Request{Endpoint: "/a"}, o: &Pagination{Type: OffsetPagination, OffsetName: "o"}, answer: bodies(`[1]`), most: 1, asked: []string{"/a?o=0"}, pages: "[[1]]",
		},
		"no list is no items": {
			r: Request{Endpoint: "/a"}, o: &Pagination{Type: OffsetPagination, OffsetName: "o", ResponsePath: "a.b"}, answer: bodies(`{"a":null}`), asked: []string{"/a?o=0"}, pages: "[]",
		},
	} {
		p := &api{answer: c.answer}
		pages, err := paged(t, p, c.defaults, c.r, c.o, c.most)
		if err != nil || fmt.Sprint(pages) != c.pages || !slices.Equal(p.asked, c.asked) {
			t.Errorf("%s:\n got %v, %q, %v\nwant %s, %q", name, pages, p.asked, err, c.pages, c.asked)
		}
	}
}

func TestPaginationThatCannotWorkSaysWhy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o      *Pagination
		r      Request
		answer func(int, *fn.HTTPArgs) fn.HTTPResult
		want   string
	}{
		"no default":          {nil, Request{}, nil, "has no default"},
		"an unknown type":     {&Pagination{Type: "x"}, Request{}, nil, `the Type is "x"`},
		"links without":       {&Pagination{Type: LinkPagination}, Request{}, nil, "LinkRel or LinkPath"},
		"cursors without":     {&Pagination{Type: CursorPagination, CursorName: "c"}, Request{}, nil, "CursorPath"},
		"offsets without":     {&Pagination{Type: OffsetPagination}, Request{}, nil, "OffsetName"},
		"a body that is none": {&Pagination{Type: OffsetPagination, OffsetName: "o"}, Request{Method: "POST", Body: "x"}, nil, "a JSON object"},
		"no list":             {&Pagination{Type: OffsetPagination, OffsetName: "o", ResponsePath: "a"}, Request{}, bodies(`{"a":{}}`), `"a" in the response is not a list`},
		"other items":         {&Pagination{Type: OffsetPagination, OffsetName: "o"}, Request{}, bodies(`["x"]`), "not what was expected"},
		"a loop":              {&Pagination{Type: CursorPagination, CursorName: "c", CursorPath: "next", ResponsePath: "a"}, Request{}, bodies(`{"a":[1],"next":"x"}`), "same next page twice"},
		"an error":            {&Pagination{Type: OffsetPagination, OffsetName: "o"}, Request{}, func(int, *fn.HTTPArgs) fn.HTTPResult { return fn.HTTPResult{Status: 500} }, "500"},
		"OnPage refuses":      {&Pagination{Type: OffsetPagination, OffsetName: "o", OnPage: func(*Response) error { return errors.New("enough") }}, Request{}, bodies(`[1]`), "enough"},
	} {
		_, err := paged(t, &api{answer: c.answer}, "", c.r, c.o, 0)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzPagesOfAnyAPI(f *testing.F) {
	f.Add(`{"data":{"items":[1,{"a":2}]},"next":"x"}`, "data.items", "next", `<https://h/2>; rel="next"`)
	f.Add(`[[1]]`, "[0]", "a[0].b", `<a,b>; rel=next, <c>`)
	f.Add(`{"a.b":[]}`, "a.b", "", `;;,<>; rel`)
	f.Fuzz(func(t *testing.T, body, path, cursor, header string) {
		g := pager{Pagination: Pagination{Type: CursorPagination, ResponsePath: path, CursorName: "c", CursorPath: cursor}, seen: map[string]bool{}}
		g.r.Query = url.Values{}
		items, err := g.items([]byte(body))
		if err == nil && path != "" && items != nil && !json.Valid(items) {
			t.Errorf("the items are %s", items)
		}
		next, err := g.next(&Response{Body: []byte(body)}, 1)
		if err == nil && next != "" && g.r.Query.Get("c") != next {
			t.Errorf("the next page is %q, asked for is %v", next, g.r.Query)
		}
		if link := linkOf(header, "next"); !strings.Contains(header, link) {
			t.Errorf("the link %q is not in the header", link)
		}
	})
}
