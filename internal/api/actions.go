package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"syncline"
	"syncline/internal/store"
)

// Actions runs actions and on-event functions. Errors of functions are
// [*syncline.Failure].
type Actions interface {
	// Trigger runs an action to its end; run is the UUID of its run, "" when it
	// did not begin.
	Trigger(ctx context.Context, env, connectionID, functionID int64, input json.RawMessage) (output json.RawMessage, run string, err error)
	// Enqueue stores an action that nobody waits for and returns its id.
	Enqueue(ctx context.Context, env, connectionID, functionID int64, input json.RawMessage, maxRetries int) (id string, err error)
	// Validate runs the validate-connection functions over a connection that is
	// not stored as it is. An error refuses it.
	Validate(ctx context.Context, i *syncline.Integration, c *syncline.Connection) (Validated, error)
	// Created owes the post-connection-creation functions, in the transaction
	// that makes the connection.
	Created(tx store.Tx, i *syncline.Integration, c *syncline.Connection) error
	// Delete deletes a connection after its pre-connection-deletion functions
	// ran; problems are what failed of them.
	Delete(ctx context.Context, env, connectionID int64) (problems []string, err error)
}

// Validated is what validate-connection functions made of a connection.
type Validated struct {
	Metadata map[string]any
	Changed  bool // the functions changed it
	// Store writes their runs, in the transaction that stores the connection.
	Store func(tx store.Tx, connectionID int64) error
}

// maxRetries is how many retries a caller may ask for.
const maxRetries = 5

// ActionStatusURL is where the result of an asynchronous action is asked for.
func ActionStatusURL(id string) string { return "/action/" + id }

// failureStatuses maps why actions fail to HTTP statuses, as Nango answers.
var failureStatuses = map[string]int{
	syncline.FailureUpstream: http.StatusFailedDependency,
	syncline.FailureInput:    http.StatusBadRequest,
	syncline.FailureDisabled: http.StatusNotFound,
	syncline.FailureNotFound: http.StatusNotFound,
	syncline.FailureNotRun:   http.StatusServiceUnavailable,
}

// failed answers with the failure of an action.
func failed(f *syncline.Failure) (reply, error) {
	status := failureStatuses[f.Type]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	payload := f.Payload
	if len(payload) == 0 {
		payload = json.RawMessage("{}")
	}
	return reply{status: status, body: map[string]any{"error": struct {
		Message  string                   `json:"message"`
		Code     string                   `json:"code"`
		Payload  json.RawMessage          `json:"payload"`
		Upstream *syncline.UpstreamAnswer `json:"upstream,omitempty"`
	}{f.Message, f.Type, payload, f.Upstream}}}, nil
}

// actionInput is the body of POST /action/trigger.
type actionInput struct {
	ActionName string          `json:"action_name"`
	Input      json.RawMessage `json:"input"`
}

func (s *server) triggerAction(c *call) (reply, error) {
	if _, err := c.params(); err != nil {
		return reply{}, err
	}
	var missing []error
	header := func(name string) string {
		v := c.Header.Get(name)
		if v == "" {
			missing = append(missing, invalid(strings.ToLower(name), "the header %s is missing", name))
		}
		return v
	}
	connectionID, integrationKey := header("Connection-Id"), header("Provider-Config-Key")
	async, err := asyncHeader(c.Header)
	if err != nil {
		missing = append(missing, err)
	}
	retries, err := retriesHeader(c.Header)
	if err != nil {
		missing = append(missing, err)
	}
	if len(missing) > 0 {
		return reply{}, badHeaderErrors(missing)
	}
	var in actionInput
	if err := c.body(s.MaxBody, &in); err != nil {
		return reply{}, err
	}
	if in.ActionName == "" {
		return reply{}, as(badBody, invalid("action_name", "action_name is missing").WithHint(`for example {"action_name": "create-issue", "input": {}}`))
	}
	if s.Actions == nil {
		return reply{}, syncline.Errorf(syncline.CodeUnavailable, "this server runs no actions")
	}
	if isNull(in.Input) {
		in.Input = nil
	}
	var (
		k syncline.Connection
		f syncline.Function
	)
	err = s.Store.View(c.Context(), func(r store.Reader) (err error) {
		var i syncline.Integration
		if i, k, err = connection(r, c.env.ID, integrationKey, connectionID, http.StatusBadRequest); err != nil {
			return err
		}
		f, err = action(r, &i, in.ActionName)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	if async {
		return s.enqueueAction(c, &k, &f, in.Input, retries)
	}
	// The action goes on also when its caller does not wait any more; until then
	// the connection stays, however long it takes.
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{}) // a writer that cannot has none
	output, run, err := s.Actions.Trigger(c.Context(), c.env.ID, k.ID, f.ID, in.Input)
	if run != "" {
		c.w.Header().Set("Syncline-Run-Id", run)
	}
	if failure := (*syncline.Failure)(nil); errors.As(err, &failure) {
		return failed(failure)
	}
	if err != nil {
		return reply{}, err
	}
	return reply{json: orNull(output)}, nil
}

func (s *server) enqueueAction(c *call, k *syncline.Connection, f *syncline.Function, input json.RawMessage, retries int) (reply, error) {
	id, err := s.Actions.Enqueue(c.Context(), c.env.ID, k.ID, f.ID, input, retries)
	if failure := (*syncline.Failure)(nil); errors.As(err, &failure) {
		return failed(failure)
	}
	if err != nil {
		return reply{}, err
	}
	s.Hooks.JobsChanged()
	c.w.Header().Set("Location", ActionStatusURL(id))
	return reply{status: http.StatusAccepted, body: map[string]string{"id": id, "statusUrl": ActionStatusURL(id)}}, nil
}

// action finds an enabled action by name.
func action(r store.Reader, i *syncline.Integration, name string) (syncline.Function, error) {
	f, err := r.FunctionByName(i.EnvironmentID, i.ID, syncline.FunctionAction, name)
	switch {
	case syncline.CodeOf(err) == syncline.CodeNotFound:
		functions, err := r.Functions(i.EnvironmentID, i.ID)
		if err != nil {
			return f, err
		}
		var names []string
		for _, other := range functions {
			if other.Type == syncline.FunctionAction {
				names = append(names, other.Name)
			}
		}
		const most = 20
		hint := "it has none: deploy it with syncline deploy"
		switch n := len(names); {
		case n > most:
			hint = "it has " + strings.Join(names[:most], ", ") + " and " + strconv.Itoa(n-most) + " more"
		case n > 0:
			hint = "it has " + strings.Join(names, ", ")
		}
		e := syncline.Errorf(syncline.CodeNotFound, "no action %q is deployed for the integration %q", name, i.UniqueKey).WithHint("%s", hint)
		return f, &problem{Status: http.StatusNotFound, Code: string(syncline.CodeNotFound), Message: e.Error(), cause: e}
	case err != nil:
		return f, err
	case !f.Enabled:
		return f, unknown(http.StatusNotFound, syncline.FailureDisabled, "the action %q of the integration %q is disabled", name, i.UniqueKey)
	}
	return f, nil
}

func asyncHeader(h http.Header) (bool, error) {
	switch strings.ToLower(h.Get("X-Async")) {
	case "", "false", "0", "no", "off", "n", "disabled":
		return false, nil
	case "true", "1", "yes", "on", "y", "enabled":
		return true, nil
	}
	return false, invalid("x-async", "the header X-Async is %q; it is true or false", h.Get("X-Async"))
}

func retriesHeader(h http.Header) (int, error) {
	v := h.Get("X-Max-Retries")
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > maxRetries {
		return 0, invalid("x-max-retries", "the header X-Max-Retries is %q; it is a number from 0 to %d", v, maxRetries)
	}
	return n, nil
}

func badHeaderErrors(errs []error) error {
	joined := errors.Join(errs...)
	return &problem{Status: http.StatusBadRequest, Code: badHeaders, Message: errs[0].Error(), Errors: issues(joined), cause: errs[0]}
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}

// getActionResult answers with the result of an asynchronous action.
func (s *server) getActionResult(c *call) (reply, error) {
	if _, err := c.params(); err != nil {
		return reply{}, err
	}
	id := c.PathValue("id")
	if !isUUID(id) {
		return reply{}, as(badPath, invalid("id", "%q is no id of an action", id).WithHint("POST /action/trigger with X-Async answers with one"))
	}
	var j syncline.Job
	err := s.Store.View(c.Context(), func(r store.Reader) (err error) {
		j, err = r.JobByUUID(c.env.ID, id)
		return err
	})
	if err == nil && (j.Kind != syncline.RunAction || j.Attended) {
		err = syncline.Errorf(syncline.CodeNotFound, "not an asynchronous action")
	}
	switch {
	case syncline.CodeOf(err) == syncline.CodeNotFound:
		return reply{}, unknown(http.StatusNotFound, string(syncline.CodeNotFound), "there is no asynchronous action %s in this environment, or its result is not kept any more", id)
	case err != nil:
		return reply{}, err
	case !j.Ended():
		c.w.Header().Set("Retry-After", "1")
		return reply{}, unknown(http.StatusNotFound, string(syncline.CodeNotFound), "the action has not completed yet: %s", progressOf(&j))
	case j.Status == syncline.JobDone:
		return reply{json: orNull(j.Result)}, nil
	}
	var f syncline.Failure
	if err := json.Unmarshal(j.Result, &f); err != nil {
		return reply{}, syncline.Errorf(syncline.CodeInternal, "read the failure of action %s: %w", id, err)
	}
	return failed(&f)
}

// progressOf says where a job stands.
func progressOf(j *syncline.Job) string {
	of := strconv.Itoa(j.MaxRetries + 1)
	switch {
	case j.Status == syncline.JobRunning:
		return "attempt " + strconv.Itoa(j.Attempts) + " of at most " + of + " runs"
	case j.Attempts > 0:
		return "attempt " + strconv.Itoa(j.Attempts) + " of at most " + of + " failed; the next begins at " + isoTime(j.NotBefore)
	}
	return "it waits for its turn"
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return false
			}
		}
	}
	return true
}
