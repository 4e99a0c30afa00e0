package dispatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"syncline"
	"syncline/internal/fn"
)

// failureOf is a failed action as its caller is told.
func failureOf(err error) *syncline.Failure {
	var known *syncline.Failure
	if errors.As(err, &known) {
		return known
	}
	var script *fn.ScriptError
	if errors.As(err, &script) {
		return scriptFailure(script)
	}
	f := &syncline.Failure{Type: syncline.FailureInternal, Code: codeOf(err), Message: err.Error()}
	switch f.Code {
	case syncline.CodeLimit:
		f.Type = syncline.FailureLimit
	case syncline.CodeWorkerLost:
		f.Type, f.Message = syncline.FailureUnknown, unknownOutcome(f.Message)
	case syncline.CodeUnavailable:
		f.Type = syncline.FailureNotRun
	case syncline.CodeNotFound:
		f.Type = syncline.FailureNotFound
	case syncline.CodeInternal:
		f.Message = "the action failed for a reason that is in the server's log"
	}
	return f
}

// unknownOutcome says of a run that was cut off what is known of it.
func unknownOutcome(reason string) string {
	return "outcome unknown: " + reason + "; what the function has done until then is not undone"
}

func scriptFailure(e *fn.ScriptError) *syncline.Failure {
	f := &syncline.Failure{Type: syncline.FailureScript, Code: codeOf(e), Message: e.Error()}
	switch {
	case e.Name == "ActionError":
		f.Type, f.Payload = syncline.FailureAction, object(e.Payload)
		f.Message = e.Message
		if f.Message == "" || f.Message == "ActionError" {
			f.Message = "the action threw an ActionError"
		}
	case e.Upstream != nil || e.Status != 0:
		f.Type, f.Code, f.Upstream = syncline.FailureUpstream, syncline.CodeUpstream, e.Upstream
		if f.Upstream == nil {
			f.Upstream = &syncline.UpstreamAnswer{Status: e.Status, Headers: map[string]string{}, Body: json.RawMessage("{}")}
		}
		// An answer that is an error of an action has its payload within.
		var inner struct {
			Payload json.RawMessage `json:"payload"`
		}
		if json.Unmarshal(f.Upstream.Body, &inner) == nil && len(inner.Payload) > 0 && inner.Payload[0] == '{' {
			f.Payload = inner.Payload
		} else {
			f.Payload = object(f.Upstream.Body)
		}
	case e.HostCode == syncline.CodeUpstream:
		f.Type = syncline.FailureNetwork
		f.Payload = described(e)
	default:
		f.Payload = described(e)
	}
	return f
}

// described is what is known of an error.
func described(e *fn.ScriptError) json.RawMessage {
	out := struct {
		Name    string   `json:"name"`
		Message string   `json:"message"`
		Stack   []string `json:"stacktrace,omitempty"`
	}{Name: e.Name, Message: e.Message}
	if out.Name == "" {
		out.Name = "Error"
	}
	const maxFrames = 10
	for line := range strings.Lines(e.Stack) {
		if line = strings.TrimSpace(line); line != "" && len(out.Stack) < maxFrames {
			out.Stack = append(out.Stack, line)
		}
	}
	b, _ := json.Marshal(out) // text
	return b
}

// maxPayload bounds what a failure keeps of one document, in bytes.
const maxPayload = 256 << 10

// object is a document as a payload, which is an object: what is none becomes
// its message.
func object(raw json.RawMessage) json.RawMessage {
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return json.RawMessage("{}")
	case len(raw) > maxPayload:
		b, _ := json.Marshal(map[string]string{"message": fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(string(raw[:4096]), ""), len(raw))})
		return b
	case raw[0] == '{':
		return raw
	}
	b, err := json.Marshal(map[string]json.RawMessage{"message": raw})
	if err != nil {
		return json.RawMessage("{}")
	}
	return b
}
