package worker

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/quickjs"
)

// Serve is the loop of a worker: it executes what comes in on in until in ends,
// and writes to out. Runs that are under way when in ends are canceled: the
// server is gone. The error is nil when in ended.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	engine := quickjs.New(quickjs.Options{})
	s := &server{engine: engine, out: newFrameWriter(out), runs: map[uint32]*served{}}
	hello, err := json.Marshal(map[string]int{"protocol": protocol})
	if err != nil {
		return err
	}
	if err := s.out.write(kindHello, 0, hello); err != nil {
		return err
	}
	err = s.loop(ctx, bufio.NewReaderSize(in, 64<<10))
	cancel()
	s.running.Wait()
	engine.Close()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

type server struct {
	engine  *quickjs.Engine
	out     *frameWriter
	running sync.WaitGroup

	mu   sync.Mutex
	runs map[uint32]*served
}

// served is one run in a worker. It is the fn.Host of its call.
type served struct {
	s      *server
	id     uint32
	cancel context.CancelFunc

	mu      sync.Mutex
	lastAsk uint32
	asks    map[uint32]chan answer
}

type answer struct {
	data []byte
	err  error
}

func (s *server) loop(ctx context.Context, in *bufio.Reader) error {
	for {
		f, err := readFrame(in)
		if err != nil {
			return err
		}
		switch f.kind {
		case kindRun:
			if err := s.start(ctx, f); err != nil {
				return err
			}
		case kindCancel:
			if r := s.run(f.run); r != nil {
				r.cancel()
			}
		case kindAnswer:
			if r := s.run(f.run); r != nil {
				r.answered(f.payload)
			}
		case kindPing:
			if err := s.out.write(kindPong, 0); err != nil {
				return err
			}
		default:
			return fmt.Errorf("an unexpected frame of type %d", f.kind)
		}
	}
}

func (s *server) run(id uint32) *served {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[id]
}

func (s *server) start(ctx context.Context, f frame) error {
	if len(f.payload) < 4 {
		return errors.New("a run frame that is cut off")
	}
	n := binary.BigEndian.Uint32(f.payload)
	if uint64(n)+4 > uint64(len(f.payload)) {
		return errors.New("a run frame that is cut off")
	}
	var head runHead
	if err := json.Unmarshal(f.payload[4:4+n], &head); err != nil {
		return fmt.Errorf("a run frame: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &served{s: s, id: f.run, cancel: cancel, asks: map[uint32]chan answer{}}
	s.mu.Lock()
	s.runs[f.run] = r
	s.mu.Unlock()
	call := fn.Call{
		RunID: head.RunID, Entry: head.Entry, BundleHash: head.BundleHash, Input: f.payload[4+n:], Context: head.Context, Limits: head.Limits, WarmKey: head.WarmKey,
		Bundle: func(ctx context.Context) ([]byte, error) { return r.ask(ctx, methodBundle, nil) },
		Library: func(ctx context.Context, hash string) ([]byte, error) {
			return r.ask(ctx, methodBundle, []byte(strconv.Quote(hash)))
		},
	}
	s.running.Go(func() {
		defer cancel()
		value, err := s.engine.Run(ctx, call, r)
		s.mu.Lock()
		delete(s.runs, f.run)
		s.mu.Unlock()
		// A write fails only when the server is gone; the loop notices too.
		if err != nil {
			_ = s.out.write(kindDone, f.run, []byte{1}, encodeError(err))
			return
		}
		_ = s.out.write(kindDone, f.run, []byte{0}, value)
	})
	return nil
}

// Call asks the server.
func (r *served) Call(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	return r.ask(ctx, method, args)
}

func (r *served) ask(ctx context.Context, method string, args []byte) ([]byte, error) {
	got := make(chan answer, 1)
	r.mu.Lock()
	r.lastAsk++
	id := r.lastAsk
	r.asks[id] = got
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.asks, id)
		r.mu.Unlock()
	}()
	if err := r.s.out.write(kindAsk, r.id, u32(id), []byte{byte(len(method))}, []byte(method), args); err != nil {
		return nil, err
	}
	select {
	case a := <-got:
		return a.data, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (r *served) answered(p []byte) {
	if len(p) < 5 {
		return
	}
	r.mu.Lock()
	got := r.asks[binary.BigEndian.Uint32(p)]
	r.mu.Unlock()
	if got == nil {
		return // nobody waits any more
	}
	a := answer{data: p[5:]}
	if p[4] != 0 {
		a = answer{err: decodeError(p[5:])}
	}
	select {
	case got <- a:
	default:
	}
}

// Log sends a log line.
func (r *served) Log(l syncline.LogLine) {
	b, err := json.Marshal(l)
	if err != nil { // data that is not JSON
		l.Data = nil
		b, _ = json.Marshal(l)
	}
	_ = r.s.out.write(kindLog, r.id, b)
}
