package worker

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"syncline"
	"syncline/internal/fn"
)

const protocol = 2

type kind byte

const (
	kindHello kind = iota + 1
	kindRun
	kindCancel
	kindAsk
	kindAnswer
	kindLog
	kindDone
	kindPing
	kindPong
	kindSetup
)

// maxFrame bounds a payload. The largest that is expected is an answer of
// 100 MiB in base64.
const maxFrame = 256 << 20

// methodBundle asks for the source of the run's bundle.
const methodBundle = "$bundle"

type frame struct {
	kind    kind
	run     uint32
	payload []byte
}

func readFrame(r *bufio.Reader) (frame, error) {
	var head [9]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(head[5:])
	if n > maxFrame {
		return frame{}, fmt.Errorf("a frame of %d bytes; the limit is %d", n, maxFrame)
	}
	f := frame{kind: kind(head[0]), run: binary.BigEndian.Uint32(head[1:]), payload: make([]byte, n)}
	_, err := io.ReadFull(r, f.payload)
	return f, err
}

// frameWriter writes frames of several goroutines, each whole.
type frameWriter struct {
	mu sync.Mutex
	w  *bufio.Writer
}

func newFrameWriter(w io.Writer) *frameWriter {
	return &frameWriter{w: bufio.NewWriterSize(w, 64<<10)}
}

func (w *frameWriter) write(k kind, run uint32, parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n > maxFrame {
		return syncline.Errorf(syncline.CodeTooLarge, "a message of %d bytes between server and function; the limit is %d", n, maxFrame)
	}
	var head [9]byte
	head[0] = byte(k)
	binary.BigEndian.PutUint32(head[1:], run)
	binary.BigEndian.PutUint32(head[5:], uint32(n))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.w.Write(head[:])
	for _, p := range parts {
		w.w.Write(p)
	}
	return w.w.Flush()
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// runHead is a call as it travels, less its input.
type runHead struct {
	Entry      fn.Entry   `json:"entry"`
	RunID      int64      `json:"runId"`
	BundleHash string     `json:"bundleHash"`
	Context    fn.Context `json:"context"`
	Limits     fn.Limits  `json:"limits"`
	WarmKey    string     `json:"warmKey,omitempty"`
}

// wireError is an error as it travels.
type wireError struct {
	Kind    string          `json:"kind"` // script, host, coded
	Code    syncline.Code   `json:"code,omitempty"`
	Name    string          `json:"name,omitempty"`
	Message string          `json:"message"`
	Hint    string          `json:"hint,omitempty"`
	Field   string          `json:"field,omitempty"`
	NetCode string          `json:"netCode,omitempty"`
	Stack   string          `json:"stack,omitempty"`
	Payload json.RawMessage `json:"payload,omitempty"`
	Status  int             `json:"status,omitempty"`

	Upstream *syncline.UpstreamAnswer `json:"upstream,omitempty"`
}

func encodeError(err error) []byte {
	w := wireError{Kind: "coded", Code: syncline.CodeOf(err), Message: err.Error()}
	var script *fn.ScriptError
	var host *fn.HostError
	var coded *syncline.Error
	switch {
	case errors.As(err, &script):
		w = wireError{
			Kind: "script", Code: script.HostCode, Name: script.Name, Message: script.Message,
			Stack: script.Stack, Payload: script.Payload, Status: script.Status, Upstream: script.Upstream,
		}
	case errors.As(err, &host):
		w = wireError{Kind: "host", Code: host.Code, Name: host.Name, Message: host.Message, NetCode: host.NetCode}
	case errors.As(err, &coded) && coded.Error() == err.Error(): // not wrapped: hint and message go apart
		w.Hint, w.Field, w.Message = coded.Hint, coded.Field, (&syncline.Error{Message: coded.Message, Err: coded.Err}).Error()
	}
	b, err := json.Marshal(w)
	if err != nil { // only a payload that is not JSON can do that
		w.Payload = nil
		b, _ = json.Marshal(w)
	}
	return b
}

func decodeError(b []byte) error {
	var w wireError
	if err := json.Unmarshal(b, &w); err != nil {
		return syncline.Errorf(syncline.CodeWorkerLost, "the worker sent an error that cannot be read: %w", err)
	}
	switch w.Kind {
	case "script":
		return &fn.ScriptError{Name: w.Name, Message: w.Message, Stack: w.Stack, Payload: w.Payload, HostCode: w.Code, Status: w.Status, Upstream: w.Upstream}
	case "host":
		return &fn.HostError{Code: w.Code, Name: w.Name, Message: w.Message, NetCode: w.NetCode}
	}
	return &syncline.Error{Code: w.Code, Message: w.Message, Hint: w.Hint, Field: w.Field}
}
