package sdktest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"

	"syncline"
	"syncline/internal/fn"
)

// session answers the host calls of one run.
type session struct {
	h       *Host
	about   fn.Context
	webhook bool
}

var _ fn.Host = (*session)(nil)

// Log keeps a line.
func (s *session) Log(l syncline.LogLine) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.log = append(s.h.log, LogLine{string(l.Level), l.Message, l.Data})
}

// arguments are those of all methods but requests.
type arguments struct {
	Model      string
	Records    []json.RawMessage
	IDs        []string
	Checkpoint json.RawMessage
	Metadata   map[string]json.RawMessage
	Name, Key  string
	Input      json.RawMessage
	Syncs      []struct{ Name string }
}

// Call answers one host call.
func (s *session) Call(ctx context.Context, method string, raw json.RawMessage) (json.RawMessage, error) {
	h := s.h
	h.mu.Lock()
	h.calls = append(h.calls, Call{method, slices.Clone(raw)})
	h.mu.Unlock()
	switch method {
	case fn.MethodHTTP:
		return s.http(ctx, raw)
	case fn.MethodUncontrolledFetch:
		return s.fetch(ctx, raw)
	}
	var a arguments
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "%s: %w", method, err)
	}
	if method == fn.MethodTriggerAction {
		action := h.Actions[a.Name]
		if action == nil {
			return nil, syncline.Errorf(syncline.CodeNotFound, "the test has no action %q: set Host.Actions", a.Name)
		}
		out, err := action(ctx, a.Input)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	out, err := s.answer(method, &a)
	if err != nil || out == nil {
		return nil, err
	}
	return json.Marshal(out)
}

func (s *session) answer(method string, a *arguments) (any, error) {
	h, st := s.h, &s.h.state
	switch method {
	case fn.MethodBatchSave, fn.MethodBatchUpdate, fn.MethodBatchDelete:
		return true, s.batch(method, a)
	case fn.MethodGetRecordsByIDs:
		found := map[string]json.RawMessage{}
		for _, id := range a.IDs {
			if r, ok := st.records[a.Model][id]; ok {
				found[id] = r
			}
		}
		return found, nil
	case fn.MethodListRecords:
		list := []json.RawMessage{}
		for _, id := range slices.Sorted(maps.Keys(st.records[a.Model])) {
			list = append(list, st.records[a.Model][id])
		}
		return map[string]any{"records": list, "next_cursor": nil}, nil
	case fn.MethodSetMergingStrategy, fn.MethodReleaseAllLocks:
		if method == fn.MethodReleaseAllLocks {
			clear(st.locks)
		}
		return nil, nil
	case fn.MethodTrackDeletesStart:
		if s.webhook {
			return nil, syncline.Errorf(syncline.CodeInvalid, "a webhook does not tell of everything that there is: track deletes in Exec")
		}
		st.tracked[a.Model] = map[string]bool{}
		for id := range st.records[a.Model] {
			st.tracked[a.Model][id] = true
		}
		return nil, nil
	case fn.MethodTrackDeletesEnd:
		if st.tracked[a.Model] == nil {
			return nil, syncline.Errorf(syncline.CodeInvalid, "trackDeletesEnd without trackDeletesStart of %s", a.Model)
		}
		st.ending[a.Model] = true
		return nil, nil
	case fn.MethodDeletePrevious:
		st.ending[a.Model] = true
		return map[string]any{"deletedKeys": slices.Sorted(maps.Keys(st.tracked[a.Model]))}, nil
	case fn.MethodGetCheckpoint:
		return orNil(*s.checkpoint()), nil
	case fn.MethodSaveCheckpoint:
		if c := bytes.TrimSpace(a.Checkpoint); len(c) == 0 || c[0] != '{' {
			return nil, syncline.Errorf(syncline.CodeInvalid, "saveCheckpoint: the checkpoint is not an object")
		}
		*s.checkpoint() = a.Checkpoint
		return nil, nil
	case fn.MethodClearCheckpoint:
		*s.checkpoint() = nil
		return nil, nil
	case fn.MethodGetMetadata:
		return st.metadata, nil
	case fn.MethodSetMetadata, fn.MethodUpdateMetadata:
		if method == fn.MethodSetMetadata {
			st.metadata = map[string]json.RawMessage{}
		}
		maps.Copy(st.metadata, a.Metadata)
		return nil, nil
	case fn.MethodGetConnection:
		return s.connection(), nil
	case fn.MethodGetIntegration:
		return map[string]any{"unique_key": s.about.ProviderConfigKey, "provider": h.Provider, "webhook_url": h.WebhookURL}, nil
	case fn.MethodGetEnvironmentVariables:
		list := []map[string]string{}
		for _, name := range slices.Sorted(maps.Keys(h.EnvironmentVariables)) {
			list = append(list, map[string]string{"name": name, "value": h.EnvironmentVariables[name]})
		}
		return list, nil
	case fn.MethodGetWebhookURL:
		if h.WebhookURL == "" {
			return nil, nil
		}
		return h.WebhookURL, nil
	case fn.MethodTriggerSync:
		st.triggeredSyncs = append(st.triggeredSyncs, a.Name)
		return nil, nil
	case fn.MethodStartSync:
		for _, y := range a.Syncs {
			st.triggeredSyncs = append(st.triggeredSyncs, y.Name)
		}
		return nil, nil
	case fn.MethodTryAcquireLock:
		free := !st.locks[a.Key]
		st.locks[a.Key] = true
		return free, nil
	case fn.MethodReleaseLock:
		held := st.locks[a.Key]
		delete(st.locks, a.Key)
		return held, nil
	}
	return nil, syncline.Errorf(syncline.CodeInvalid, "%s is not offered by sdktest", method)
}

func orNil(raw json.RawMessage) any {
	if raw == nil {
		return nil
	}
	return raw
}

func (s *session) checkpoint() *json.RawMessage {
	if s.webhook {
		return &s.h.state.webhookCheckpoint
	}
	return &s.h.state.checkpoint
}

func (s *session) connection() any {
	h := s.h
	credentials := any(h.Credentials)
	if h.Credentials.Raw != nil {
		credentials = h.Credentials.Raw
	}
	return map[string]any{
		"connection_id": s.about.ConnectionID, "provider_config_key": s.about.ProviderConfigKey, "provider": h.Provider, "credentials": credentials,
		"connection_config": h.ConnectionConfig, "metadata": h.state.metadata, "tags": h.Tags,
	}
}

// batch saves, updates or deletes.
func (s *session) batch(method string, a *arguments) error {
	ids := make([]string, len(a.Records))
	for i, raw := range a.Records {
		var r struct{ ID json.RawMessage }
		if err := json.Unmarshal(raw, &r); err != nil {
			return syncline.Errorf(syncline.CodeInvalid, "%s(%s): record %d is not an object", method, a.Model, i)
		}
		if json.Unmarshal(r.ID, &ids[i]) != nil { // a number is its text
			ids[i] = string(r.ID)
		}
		if ids[i] == "" || ids[i] == "null" {
			return syncline.Errorf(syncline.CodeInvalid, "%s(%s): record %d has no id", method, a.Model, i)
		}
	}
	all := s.h.state.records[a.Model]
	if all == nil {
		all = map[string]json.RawMessage{}
		s.h.state.records[a.Model] = all
	}
	for i, raw := range a.Records {
		id := ids[i]
		delete(s.h.state.tracked[a.Model], id)
		switch method {
		case fn.MethodBatchSave:
			all[id] = raw
		case fn.MethodBatchDelete:
			delete(all, id)
		default:
			if old, ok := all[id]; ok {
				all[id] = merged(old, raw)
			}
		}
	}
	return nil
}

// merged merges objects member by member; everything else is replaced.
func merged(old, patch json.RawMessage) json.RawMessage {
	var a, b map[string]json.RawMessage
	if json.Unmarshal(old, &a) != nil || json.Unmarshal(patch, &b) != nil || a == nil || b == nil {
		return patch
	}
	for name, v := range b {
		if was, ok := a[name]; ok {
			v = merged(was, v)
		}
		a[name] = v
	}
	out, err := json.Marshal(a)
	if err != nil {
		return patch
	}
	return out
}

func (s *session) http(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	var a fn.HTTPArgs
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, err
	}
	target := a.Endpoint
	if u, err := url.Parse(target); err == nil && u.IsAbs() {
		target = u.RequestURI()
	}
	target = "/" + strings.TrimLeft(target, "/")
	if a.Query != "" {
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		target += sep + a.Query
	}
	header := map[string]string{}
	if a.Body != nil && a.ContentType != "" {
		header["Content-Type"] = a.ContentType
	}
	maps.Copy(header, a.Headers)
	return serve(ctx, s.h.API, "Host.API", a.Method, target, header, a.Body, a.BodyEncoding)
}

func (s *session) fetch(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	var a fn.FetchArgs
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, err
	}
	return serve(ctx, s.h.Elsewhere, "Host.Elsewhere", a.Method, a.URL, a.Headers, a.Body, a.BodyEncoding)
}

func serve(ctx context.Context, handler http.Handler, field, method, target string, header map[string]string, body *string, encoding string) (json.RawMessage, error) {
	if handler == nil {
		return nil, &fn.HostError{Code: syncline.CodeUpstream, NetCode: "ECONNREFUSED", Message: fmt.Sprintf("%s %s: the test has no %s", method, target, field)}
	}
	var content []byte
	if body != nil {
		content = []byte(*body)
		if encoding == "base64" {
			var err error
			if content, err = base64.StdEncoding.DecodeString(*body); err != nil {
				return nil, err
			}
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(content))
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "%s %s: %w", method, target, err)
	}
	if r.Host == "" {
		r.Host = "api.example.com"
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	got := w.Result()
	defer got.Body.Close()
	out := fn.HTTPResult{
		Status: got.StatusCode, StatusText: http.StatusText(got.StatusCode), Headers: map[string]string{},
		Body: base64.StdEncoding.EncodeToString(w.Body.Bytes()), Encoding: "base64", URL: "https://" + r.Host + r.URL.RequestURI(),
		RateLimited: got.StatusCode == http.StatusTooManyRequests,
	}
	for name, values := range got.Header {
		out.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return json.Marshal(out)
}
