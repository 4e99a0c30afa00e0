package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"syncline"
	"syncline/internal/fn"
)

// dryHost answers a function in a dry run: from a server, from a stand-in, or
// from a fixture. What the function writes it shows and forgets.
type dryHost struct {
	show *dryPrinter
	call *fn.Call

	client  *client // the server; nil: there is none
	standin string  // address that requests go to; ""
	replay  fn.Host // fixture that requests are answered from; nil

	mu         sync.Mutex
	connection json.RawMessage
	metadata   json.RawMessage // in place of the connection's
	checkpoint json.RawMessage
	touched    map[string]map[string]json.RawMessage // model → id → as the function left it; null: deleted
	tracked    map[string]bool
}

var _ fn.Host = (*dryHost)(nil)

func (h *dryHost) Log(l syncline.LogLine) { h.show.log(l) }

// headers name the connection to the server.
func (h *dryHost) headers() []string {
	return []string{"Connection-Id", h.call.Context.ConnectionID, "Provider-Config-Key", h.call.Context.ProviderConfigKey}
}

// open reads the connection, which has to be there.
func (h *dryHost) open(ctx context.Context) error {
	raw, err := h.getConnection(ctx, nil)
	if err != nil {
		return err
	}
	var c struct {
		Provider string          `json:"provider"`
		Metadata json.RawMessage `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return fmt.Errorf("read the connection: %w", err)
	}
	h.call.Context.Provider = c.Provider
	h.connection = raw
	if h.metadata == nil {
		h.metadata = c.Metadata
	}
	return nil
}

// Call answers one host call.
func (h *dryHost) Call(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	switch method {
	case fn.MethodHTTP, fn.MethodUncontrolledFetch:
		return h.request(ctx, method, args)
	case fn.MethodBatchSave, fn.MethodBatchUpdate, fn.MethodBatchDelete:
		return h.batch(ctx, method, args)
	case fn.MethodGetRecordsByIDs:
		return h.recordsByID(ctx, args)
	case fn.MethodListRecords:
		return h.listRecords(ctx, args)
	case fn.MethodTrackDeletesStart, fn.MethodTrackDeletesEnd, fn.MethodDeletePrevious:
		return h.trackDeletes(ctx, method, args)
	case fn.MethodGetConnection:
		return h.getConnection(ctx, args)
	case fn.MethodGetIntegration, fn.MethodGetEnvironmentVariables, fn.MethodGetWebhookURL:
		return h.ask(ctx, method, args)
	case fn.MethodTriggerAction, fn.MethodTriggerSync, fn.MethodStartSync:
		return h.trigger(ctx, method, args)
	}
	return h.state(method, args)
}

var jsonNull = json.RawMessage("null")

// state answers what concerns the run alone.
func (h *dryHost) state(method string, args json.RawMessage) (json.RawMessage, error) {
	var a struct {
		Checkpoint json.RawMessage `json:"checkpoint"`
		Metadata   json.RawMessage `json:"metadata"`
	}
	if err := json.Unmarshal(args, &a); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch method {
	case fn.MethodGetCheckpoint:
		if h.checkpoint == nil {
			return jsonNull, nil
		}
		return h.checkpoint, nil
	case fn.MethodSaveCheckpoint:
		h.checkpoint = a.Checkpoint
		h.show.checkpoint(a.Checkpoint)
		return jsonNull, nil
	case fn.MethodClearCheckpoint:
		h.checkpoint = nil
		h.show.checkpoint(jsonNull)
		return jsonNull, nil
	case fn.MethodGetMetadata:
		if len(h.metadata) == 0 {
			return json.RawMessage("{}"), nil
		}
		return h.metadata, nil
	case fn.MethodSetMetadata:
		h.metadata = a.Metadata
		h.show.note("metadata %s", shorten(string(a.Metadata), 160))
		return jsonNull, nil
	case fn.MethodUpdateMetadata:
		h.show.note("metadata with %s", shorten(string(a.Metadata), 160))
		merged := map[string]json.RawMessage{}
		_ = json.Unmarshal(h.metadata, &merged) // what is no object is replaced
		var more map[string]json.RawMessage
		if err := json.Unmarshal(a.Metadata, &more); err != nil {
			return nil, err
		}
		if merged == nil {
			merged = map[string]json.RawMessage{}
		}
		maps.Copy(merged, more)
		out, err := json.Marshal(merged)
		h.metadata = out
		return jsonNull, err
	case fn.MethodTryAcquireLock, fn.MethodReleaseLock:
		return json.RawMessage("true"), nil
	case fn.MethodReleaseAllLocks, fn.MethodSetMergingStrategy:
		return jsonNull, nil
	}
	return nil, fmt.Errorf("nango.%s is not offered in a dry run", method)
}

// get asks the server and returns its answer as it is.
func (h *dryHost) get(ctx context.Context, path string, query url.Values) (json.RawMessage, error) {
	var raw json.RawMessage
	err := h.client.get(ctx, path, query, &raw, h.headers()...)
	return raw, err
}

func (h *dryHost) getConnection(ctx context.Context, args json.RawMessage) (json.RawMessage, error) {
	if h.replay != nil {
		return h.replay.Call(ctx, fn.MethodGetConnection, args)
	}
	var a struct {
		Key     string `json:"provider_config_key"`
		ID      string `json:"connection_id"`
		Force   bool   `json:"force_refresh"`
		Refresh bool   `json:"refresh_token"`
	}
	if len(args) > 0 {
		if err := json.Unmarshal(args, &a); err != nil {
			return nil, err
		}
	}
	c := &h.call.Context
	if h.client == nil {
		return json.Marshal(map[string]any{
			"connection_id": c.ConnectionID, "provider_config_key": c.ProviderConfigKey, "provider": c.Provider, "connection_config": map[string]any{},
			"metadata": orEmptyJSON(h.metadata), "credentials": map[string]any{},
		})
	}
	key, id := c.ProviderConfigKey, c.ConnectionID
	if a.Key != "" {
		key = a.Key
	}
	if a.ID != "" {
		id = a.ID
	}
	if key == c.ProviderConfigKey && id == c.ConnectionID && h.connection != nil && !a.Force {
		return h.connection, nil
	}
	query := url.Values{"provider_config_key": {key}}
	if a.Refresh {
		query.Set("refresh_token", "true")
	}
	if a.Force {
		query.Set("force_refresh", "true")
	}
	return h.get(ctx, "/connections/"+url.PathEscape(id), query)
}

func orEmptyJSON(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	return raw
}

// ask answers what the server knows.
func (h *dryHost) ask(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	if h.replay != nil {
		return h.replay.Call(ctx, method, args)
	}
	if h.client == nil {
		return nil, fmt.Errorf("nango.%s needs a server, and the dry run has a stand-in", method)
	}
	if method == fn.MethodGetEnvironmentVariables {
		return h.get(ctx, "/environment-variables", nil)
	}
	var a struct {
		Include []string `json:"include"`
	}
	if err := json.Unmarshal(args, &a); err != nil {
		return nil, err
	}
	if method == fn.MethodGetWebhookURL {
		a.Include = []string{"webhook"}
	}
	raw, err := h.get(ctx, "/integrations/"+url.PathEscape(h.call.Context.ProviderConfigKey), url.Values{"include": a.Include})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, err
	}
	if method == fn.MethodGetIntegration {
		return answer.Data, nil
	}
	var integration struct {
		WebhookURL *string `json:"webhook_url"`
	}
	if err := json.Unmarshal(answer.Data, &integration); err != nil {
		return nil, err
	}
	return json.Marshal(integration.WebhookURL)
}

// trigger calls actions, which act on the external API as requests do, and
// leaves the cache's syncs alone.
func (h *dryHost) trigger(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	var a struct {
		Key   string          `json:"provider_config_key"`
		ID    string          `json:"connection_id"`
		Name  string          `json:"name"`
		Input json.RawMessage `json:"input"`
	}
	if err := json.Unmarshal(args, &a); err != nil {
		return nil, err
	}
	if method != fn.MethodTriggerAction {
		h.show.note("nango.%s is not done in a dry run", method)
		return jsonNull, nil
	}
	if h.replay != nil {
		return h.replay.Call(ctx, method, args)
	}
	if h.client == nil {
		return nil, errors.New("nango.triggerAction needs a server, and the dry run has a stand-in")
	}
	key, id := h.call.Context.ProviderConfigKey, h.call.Context.ConnectionID
	if a.Key != "" {
		key = a.Key
	}
	if a.ID != "" {
		id = a.ID
	}
	var out json.RawMessage
	body := map[string]any{"action_name": a.Name, "input": a.Input}
	err := h.client.do(ctx, http.MethodPost, "/action/trigger", body, &out, "Connection-Id", id, "Provider-Config-Key", key)
	return out, err
}

// ---- records ----

// cached are the records of the cache with ids, as functions saved them.
func (h *dryHost) cached(ctx context.Context, model string, ids []string) (map[string]json.RawMessage, error) {
	found := map[string]json.RawMessage{}
	if h.client == nil {
		return found, nil
	}
	for len(ids) > 0 {
		n := min(len(ids), 100)
		query := url.Values{"model": {model}, "ids": ids[:n], "limit": {"1000"}}
		ids = ids[n:]
		if err := h.page(ctx, query, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// page reads one page of records into found, without those that are deleted.
func (h *dryHost) page(ctx context.Context, query url.Values, found map[string]json.RawMessage) error {
	if v := h.call.Context.Variant; v != "" && v != syncline.BaseVariant {
		query.Set("variant", v)
	}
	raw, err := h.get(ctx, "/records", query)
	if e := (*syncline.Error)(nil); errors.As(err, &e) && e.Code == syncline.CodeInvalid && e.Field == "model" {
		// No function with the model is deployed yet: nothing of it is there.
		query.Del("cursor")
		return nil
	}
	if err != nil {
		return err
	}
	var page struct {
		Records    []map[string]json.RawMessage `json:"records"`
		NextCursor *string                      `json:"next_cursor"`
	}
	if err := json.Unmarshal(raw, &page); err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	for _, r := range page.Records {
		var meta struct {
			LastAction string `json:"last_action"`
		}
		_ = json.Unmarshal(r["_nango_metadata"], &meta)
		delete(r, "_nango_metadata")
		if !strings.EqualFold(meta.LastAction, "deleted") {
			if text, err := json.Marshal(r); err == nil {
				found[idText(r["id"])] = text
			}
		}
	}
	query.Del("cursor")
	if page.NextCursor != nil {
		query.Set("cursor", *page.NextCursor)
	}
	return nil
}

// idText is an id as text.
func idText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

func (h *dryHost) batch(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	var a fn.BatchArgs
	if err := json.Unmarshal(args, &a); err != nil {
		return nil, err
	}
	ids := make([]string, len(a.Records))
	for i, r := range a.Records {
		var with struct {
			ID json.RawMessage `json:"id"`
		}
		if json.Unmarshal(r, &with) != nil || len(with.ID) == 0 || string(with.ID) == "null" {
			return nil, fmt.Errorf("%s: record %d of %s has no id", method, i, a.Model)
		}
		ids[i] = idText(with.ID)
	}
	before, err := h.cached(ctx, a.Model, ids)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.touched == nil {
		h.touched = map[string]map[string]json.RawMessage{}
	}
	if h.touched[a.Model] == nil {
		h.touched[a.Model] = map[string]json.RawMessage{}
	}
	for i, r := range a.Records {
		was, ok := before[ids[i]]
		if own, touched := h.touched[a.Model][ids[i]]; touched {
			was, ok = own, own != nil
		}
		if !ok {
			was = nil
		}
		after := r
		if method == fn.MethodBatchUpdate && was != nil {
			if after, err = mergeJSON(was, r); err != nil {
				return nil, err
			}
		}
		h.show.record(method, a.Model, ids[i], was, after)
		switch {
		case method == fn.MethodBatchDelete:
			h.touched[a.Model][ids[i]] = nil
		case method == fn.MethodBatchSave || was != nil:
			h.touched[a.Model][ids[i]] = after
		}
	}
	return json.RawMessage("true"), nil
}

// objectOf is the keys of an object; nil of anything else.
func objectOf(raw json.RawMessage) map[string]json.RawMessage {
	var o map[string]json.RawMessage
	if json.Unmarshal(raw, &o) != nil {
		return nil
	}
	return o
}

// mergeJSON merges an update into a record: objects by key, anything else
// replaces.
func mergeJSON(base, update json.RawMessage) (json.RawMessage, error) {
	b, u := objectOf(base), objectOf(update)
	if b == nil || u == nil {
		return update, nil
	}
	for key, value := range u {
		merged, err := mergeJSON(b[key], value)
		if err != nil {
			return nil, err
		}
		b[key] = merged
	}
	return json.Marshal(b)
}

func (h *dryHost) recordsByID(ctx context.Context, args json.RawMessage) (json.RawMessage, error) {
	if h.replay != nil {
		return h.replay.Call(ctx, fn.MethodGetRecordsByIDs, args)
	}
	var a struct {
		Model string            `json:"model"`
		IDs   []json.RawMessage `json:"ids"`
	}
	if err := json.Unmarshal(args, &a); err != nil {
		return nil, err
	}
	ids := make([]string, len(a.IDs))
	for i := range a.IDs {
		ids[i] = idText(a.IDs[i])
	}
	found, err := h.cached(ctx, a.Model, ids)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		if own, ok := h.touched[a.Model][id]; ok {
			if delete(found, id); own != nil {
				found[id] = own
			}
		}
	}
	return json.Marshal(found)
}

func (h *dryHost) listRecords(ctx context.Context, args json.RawMessage) (json.RawMessage, error) {
	if h.replay != nil {
		return h.replay.Call(ctx, fn.MethodListRecords, args)
	}
	var a struct {
		Model  string `json:"model"`
		Cursor string `json:"cursor"`
	}
	if err := json.Unmarshal(args, &a); err != nil {
		return nil, err
	}
	out := struct {
		Records    []json.RawMessage `json:"records"`
		NextCursor *string           `json:"next_cursor"`
	}{Records: []json.RawMessage{}}
	if h.client != nil {
		query := url.Values{"model": {a.Model}, "limit": {"1000"}}
		if a.Cursor != "" {
			query.Set("cursor", a.Cursor)
		}
		found := map[string]json.RawMessage{}
		if err := h.page(ctx, query, found); err != nil {
			return nil, err
		}
		for _, r := range found {
			out.Records = append(out.Records, r)
		}
		if next := query.Get("cursor"); next != "" {
			out.NextCursor = &next
		}
	}
	return json.Marshal(out)
}

// trackDeletes shows, at the end, what of the cache the function has not seen.
func (h *dryHost) trackDeletes(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	var a struct {
		Model string `json:"model"`
	}
	if err := json.Unmarshal(args, &a); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tracked == nil {
		h.tracked = map[string]bool{}
	}
	if method == fn.MethodTrackDeletesStart {
		h.tracked[a.Model] = true
		return jsonNull, nil
	}
	if method == fn.MethodTrackDeletesEnd && !h.tracked[a.Model] {
		return nil, fmt.Errorf("nango.trackDeletesEnd(%q) without trackDeletesStart before it", a.Model)
	}
	all := map[string]json.RawMessage{}
	if h.client != nil {
		query := url.Values{"model": {a.Model}, "limit": {"1000"}}
		for {
			if err := h.page(ctx, query, all); err != nil {
				return nil, err
			}
			if query.Get("cursor") == "" {
				break
			}
		}
	}
	unseen := []string{}
	for id := range all {
		if _, ok := h.touched[a.Model][id]; !ok {
			unseen = append(unseen, id)
		}
	}
	slices.Sort(unseen)
	h.show.deletes(a.Model, unseen)
	if method == fn.MethodDeletePrevious {
		return json.Marshal(map[string]any{"deletedKeys": unseen})
	}
	return jsonNull, nil
}

// ---- requests ----

func (h *dryHost) request(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	var a fn.HTTPArgs
	if method == fn.MethodUncontrolledFetch {
		var f fn.FetchArgs
		if err := json.Unmarshal(args, &f); err != nil {
			return nil, err
		}
		a = fn.HTTPArgs{Method: f.Method, Endpoint: f.URL, Headers: f.Headers, Body: f.Body, BodyEncoding: f.BodyEncoding, ResponseType: "arraybuffer"}
	} else if err := json.Unmarshal(args, &a); err != nil {
		return nil, err
	}
	began := time.Now()
	var res *fn.HTTPResult
	var err error
	if h.replay != nil {
		var raw json.RawMessage
		if raw, err = h.replay.Call(ctx, method, args); err == nil {
			res = &fn.HTTPResult{}
			err = json.Unmarshal(raw, res)
		}
	} else {
		res, err = h.send(ctx, &a, method == fn.MethodUncontrolledFetch)
	}
	shownAt := a.Endpoint
	if a.Query != "" {
		shownAt += map[bool]string{true: "&", false: "?"}[strings.Contains(shownAt, "?")] + a.Query
	}
	if err != nil {
		h.show.http(a.Method, shownAt, 0, err, time.Since(began))
		return nil, err
	}
	h.show.http(a.Method, shownAt, res.Status, nil, time.Since(began))
	return json.Marshal(res)
}

// send makes one request: through the server's proxy, to the stand-in, or, for
// uncontrolledFetch, to where it goes.
func (h *dryHost) send(ctx context.Context, a *fn.HTTPArgs, direct bool) (*fn.HTTPResult, error) {
	at, err := h.address(a, direct)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if a.Body != nil {
		data := []byte(*a.Body)
		if a.BodyEncoding == "base64" {
			if data, err = base64.StdEncoding.DecodeString(*a.Body); err != nil {
				return nil, err
			}
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, a.Method, at, body)
	if err != nil {
		return nil, err
	}
	viaProxy := h.client != nil && !direct
	hasType := false
	for name, value := range a.Headers {
		hasType = hasType || strings.EqualFold(name, "Content-Type")
		if viaProxy && !strings.EqualFold(name, "Content-Type") {
			name = "Nango-Proxy-" + name
		}
		req.Header.Set(name, value)
	}
	if !hasType && a.ContentType != "" && a.Body != nil {
		req.Header.Set("Content-Type", a.ContentType)
	}
	doer := http.DefaultClient
	if viaProxy {
		h.proxyHeaders(req, a)
		doer = h.client.http
	}
	res, err := doer.Do(req)
	if err != nil {
		var urlErr *url.Error
		if errors.As(err, &urlErr) {
			err = urlErr.Err
		}
		return nil, &fn.HostError{Code: syncline.CodeUnavailable, Message: err.Error(), NetCode: "ECONNREFUSED"}
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return nil, &fn.HostError{Code: syncline.CodeUpstream, Message: err.Error(), NetCode: "ECONNRESET"}
	}
	out := &fn.HTTPResult{Status: res.StatusCode, StatusText: http.StatusText(res.StatusCode), Headers: map[string]string{}, URL: a.Endpoint}
	for name, values := range res.Header {
		out.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	if a.ResponseType == "arraybuffer" || !utf8.Valid(data) {
		out.Body, out.Encoding = base64.StdEncoding.EncodeToString(data), "base64"
	} else {
		out.Body = string(data)
	}
	return out, nil
}

// address is where a request goes.
func (h *dryHost) address(a *fn.HTTPArgs, direct bool) (string, error) {
	at := a.Endpoint
	switch {
	case direct:
	case h.client != nil:
		at = h.client.server + "/proxy/" + strings.TrimLeft(at, "/")
	default:
		// The stand-in plays every host.
		if u, err := url.Parse(at); err == nil && u.Host != "" {
			at = u.RequestURI()
		}
		at = h.standin + "/" + strings.TrimLeft(at, "/")
	}
	if a.Query != "" {
		at += map[bool]string{true: "&", false: "?"}[strings.Contains(at, "?")] + a.Query
	}
	if _, err := url.Parse(at); err != nil {
		return "", fmt.Errorf("the endpoint %s cannot be called: %w", a.Endpoint, err)
	}
	return at, nil
}

// proxyHeaders tell the proxy whose credentials to use, and how.
func (h *dryHost) proxyHeaders(req *http.Request, a *fn.HTTPArgs) {
	req.Header.Set("Authorization", "Bearer "+h.client.key)
	key, id := h.call.Context.ProviderConfigKey, h.call.Context.ConnectionID
	if a.ProviderConfigKey != "" {
		key = a.ProviderConfigKey
	}
	if a.ConnectionID != "" {
		id = a.ConnectionID
	}
	req.Header.Set("Provider-Config-Key", key)
	req.Header.Set("Connection-Id", id)
	if a.Retries > 0 {
		req.Header.Set("Retries", strconv.Itoa(a.Retries))
	}
	if len(a.RetryOn) > 0 {
		codes := make([]string, len(a.RetryOn))
		for i, code := range a.RetryOn {
			codes[i] = strconv.Itoa(code)
		}
		req.Header.Set("Retry-On", strings.Join(codes, ","))
	}
	if a.BaseURLOverride != "" {
		req.Header.Set("Base-Url-Override", a.BaseURLOverride)
	}
	if a.Decompress != nil {
		req.Header.Set("Decompress", strconv.FormatBool(*a.Decompress))
	}
}
