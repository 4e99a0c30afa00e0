package provider

import (
	"encoding/json"
	"slices"
	"strings"
)

// Paginate is how an API pages; the names are those that functions use for
// their own settings.
type Paginate struct {
	Type                    string `yaml:"type" json:"type"` // link, cursor, offset, or none
	LimitNameInRequest      string `yaml:"limit_name_in_request" json:"limit_name_in_request,omitempty"`
	Limit                   int    `yaml:"limit" json:"limit,omitempty"`
	ResponsePath            string `yaml:"response_path" json:"response_path,omitempty"`
	LinkRelInResponseHeader string `yaml:"link_rel_in_response_header" json:"link_rel_in_response_header,omitempty"`
	LinkPathInResponseBody  string `yaml:"link_path_in_response_body" json:"link_path_in_response_body,omitempty"`
	CursorNameInRequest     string `yaml:"cursor_name_in_request" json:"cursor_name_in_request,omitempty"`
	CursorPathInResponse    string `yaml:"cursor_path_in_response" json:"cursor_path_in_response,omitempty"`
	// CursorPathInLastItem and CursorInResponseHeader are where else a cursor may be.
	CursorPathInLastItem    string `yaml:"cursor_path_in_last_item" json:"cursor_path_in_last_item,omitempty"`
	CursorInResponseHeader  string `yaml:"cursor_in_response_header" json:"cursor_in_response_header,omitempty"`
	OffsetNameInRequest     string `yaml:"offset_name_in_request" json:"offset_name_in_request,omitempty"`
	OffsetStartValue        int    `yaml:"offset_start_value" json:"offset_start_value,omitempty"`
	OffsetCalculationMethod string `yaml:"offset_calculation_method" json:"offset_calculation_method,omitempty"` // by-response-size (default) or per-page
	// MorePathInResponse is a boolean that is false on the last page.
	MorePathInResponse string `yaml:"more_path_in_response" json:"more_path_in_response,omitempty"`
	// LastPathInResponse is a boolean that is true on the last page.
	LastPathInResponse string `yaml:"last_path_in_response" json:"last_path_in_response,omitempty"`
	// NextOffsetPathInResponse is where the answer has the next offset.
	NextOffsetPathInResponse string `yaml:"next_offset_path_in_response" json:"next_offset_path_in_response,omitempty"`
	// ContinueEndpoint is where pages after the first come from, with the cursor alone.
	ContinueEndpoint string `yaml:"continue_endpoint" json:"continue_endpoint,omitempty"`
	// InBody puts limit, cursor and offset into the body, whatever the method.
	InBody bool `yaml:"in_body" json:"in_body,omitempty"`
	// TotalHeader names a header with the number of all items or pages. It is shown, not used.
	TotalHeader string `yaml:"total_header" json:"-"`
	// Style says that the names are no parameters of a request: "graphql" (arguments of a connection) or "query"
	// (a part of the query language). Functions page by their own settings there.
	Style string `yaml:"style" json:"-"`
}

// DefaultPagination is what calls of paginate() start from, as JSON: the
// settings in the catalogue's names, and unless_typed when they are left out
// as soon as a function's own settings say the type. nil: there is none.
//
// Settings that functions inherit are laid beneath their own, whatever those
// say. Others were not known to whoever wrote a function with whole settings of
// its own: a response path that such a function does not name means the whole
// response.
func (p *Provider) DefaultPagination() json.RawMessage {
	settings := struct {
		*Paginate
		UnlessTyped bool `json:"unless_typed,omitempty"`
	}{p.Proxy.PaginateInherited, false}
	if settings.Paginate == nil {
		settings.Paginate, settings.UnlessTyped = p.Proxy.Paginate, true
	}
	if settings.Paginate == nil || settings.Type == "none" || settings.Style != "" {
		return nil
	}
	b, err := json.Marshal(settings)
	if err != nil {
		return nil // it is plain data
	}
	return b
}

func (p *Paginate) check() error {
	one := func(field, value string, of ...string) error {
		if !slices.Contains(of, value) {
			return wrong(field, "%q is not one of %s", value, strings.TrimPrefix(strings.Join(of, ", "), ", "))
		}
		return nil
	}
	if err := one("type", p.Type, "link", "cursor", "offset", "none"); err != nil {
		return err
	}
	if err := one("style", p.Style, "", "graphql", "query"); err != nil {
		return err
	}
	if err := one("offset_calculation_method", p.OffsetCalculationMethod, "", "by-response-size", "per-page"); err != nil {
		return err
	}
	switch {
	case p.Type == "link" && p.LinkRelInResponseHeader == "" && p.LinkPathInResponseBody == "":
		return wrong("type", "link needs link_rel_in_response_header or link_path_in_response_body")
	case p.Type == "cursor" && p.CursorNameInRequest == "":
		return wrong("type", "cursor needs cursor_name_in_request")
	case p.Type == "cursor" && p.CursorPathInResponse == "" && p.CursorPathInLastItem == "" && p.CursorInResponseHeader == "":
		return wrong("type", "cursor needs cursor_path_in_response, cursor_path_in_last_item or cursor_in_response_header")
	case p.Type == "offset" && p.OffsetNameInRequest == "":
		return wrong("type", "offset needs offset_name_in_request")
	case p.Limit < 0 || p.OffsetStartValue < 0:
		return wrong("limit", "it is negative")
	}
	for _, h := range [][2]string{{"cursor_in_response_header", p.CursorInResponseHeader}, {"total_header", p.TotalHeader}} {
		if h[1] != "" && !isHeaderName(h[1]) {
			return wrong(h[0], "%q is not the name of a header", h[1])
		}
	}
	return nil
}
