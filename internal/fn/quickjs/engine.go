package quickjs

import (
	"container/list"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"modernc.org/quickjs"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/sourcemap"
)

// Options set up an engine. Zero fields take the default.
type Options struct {
	// Warm is how many idle warm contexts are kept; default 64. They are
	// several megabytes each.
	Warm int
	// WarmCalls is after how many calls a warm context is replaced, so that
	// what a function leaves behind does not pile up; default 1000.
	WarmCalls int
	// WarmAge is after how long it is replaced; default 10 minutes.
	WarmAge time.Duration
}

// Engine executes calls. It is safe for concurrent use: every call has a
// context of its own.
type Engine struct {
	o Options

	mu      sync.Mutex
	bundles map[string]*bundle
	// libraries are what bundles continue, by hash.
	libraries map[string]*library
	idle      map[string]*list.Element // warm key and bundle → *context
	lru       *list.List               // newest first
}

var _ fn.Runner = (*Engine)(nil)

// New makes an engine.
func New(o Options) *Engine {
	if o.Warm == 0 {
		o.Warm = 64
	}
	if o.WarmCalls == 0 {
		o.WarmCalls = 1000
	}
	if o.WarmAge == 0 {
		o.WarmAge = 10 * time.Minute
	}
	return &Engine{o: o, bundles: map[string]*bundle{}, libraries: map[string]*library{}, idle: map[string]*list.Element{}, lru: list.New()}
}

// Close lets go of idle contexts. Calls that run are not affected.
func (e *Engine) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for el := e.lru.Front(); el != nil; el = el.Next() {
		el.Value.(*vm).close()
	}
	e.lru.Init()
	clear(e.idle)
}

// Run executes one call.
func (e *Engine) Run(ctx context.Context, call fn.Call, host fn.Host) (json.RawMessage, error) {
	b, err := e.bundle(ctx, call)
	if err != nil {
		return nil, err
	}
	limits := call.Limits.Defaults()
	key := ""
	var v *vm
	if call.WarmKey != "" {
		key = call.WarmKey + "\x00" + call.BundleHash
		v = e.takeWarm(key, limits.Memory)
	}
	if v == nil {
		if v, err = newVM(ctx, b, limits); err != nil {
			return nil, err
		}
	}
	out, err := v.run(ctx, call, limits, host)
	if key == "" || v.broken || v.calls >= e.o.WarmCalls || time.Since(v.made) > e.o.WarmAge {
		v.close()
	} else {
		e.keepWarm(key, v)
	}
	return out, err
}

func (e *Engine) takeWarm(key string, memory int64) *vm {
	e.mu.Lock()
	defer e.mu.Unlock()
	el := e.idle[key]
	if el == nil {
		return nil
	}
	e.lru.Remove(el)
	delete(e.idle, key)
	v := el.Value.(*vm)
	if v.memory != memory {
		v.close()
		return nil
	}
	return v
}

func (e *Engine) keepWarm(key string, v *vm) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.idle[key] != nil { // another call of the same key came back first
		v.close()
		return
	}
	v.key = key
	e.idle[key] = e.lru.PushFront(v)
	for oldest := e.lru.Back(); oldest != nil && (e.lru.Len() > e.o.Warm || time.Since(oldest.Value.(*vm).made) > e.o.WarmAge); oldest = e.lru.Back() {
		e.lru.Remove(oldest)
		delete(e.idle, oldest.Value.(*vm).key)
		oldest.Value.(*vm).close()
	}
}

// bundle is a deployed bundle, compiled once.
type bundle struct {
	once     sync.Once
	source   []byte
	bytecode []byte
	library  *library // nil: it continues none
	needs    needs
	err      error
	frames   sourcemap.Frames
}

// library is a script that bundles continue, compiled once.
type library struct {
	once     sync.Once
	source   []byte
	bytecode []byte
	needs    needs
	err      error
}

// libraryRows moves the lines of libraries beyond those of any bundle, so that
// a frame of a library is not taken for one of the bundle's own.
const libraryRows = 1_000_000

// maxBundles bounds how many compiled bundles are kept.
const maxBundles = 1000

func (e *Engine) bundle(ctx context.Context, call fn.Call) (*bundle, error) {
	e.mu.Lock()
	b := e.bundles[call.BundleHash]
	if b == nil {
		e.mu.Unlock()
		// Loaded without the lock: it may come over a pipe.
		source, err := call.Bundle(ctx)
		if err != nil {
			return nil, err
		}
		var l *library
		if hash, ok := fn.Library(source); ok {
			if l, err = e.library(ctx, call, hash); err != nil {
				return nil, err
			}
		}
		e.mu.Lock()
		if b = e.bundles[call.BundleHash]; b == nil {
			if len(e.bundles) >= maxBundles {
				clear(e.bundles)
			}
			b = &bundle{source: source, library: l, needs: needsOf(source)}
			if l != nil {
				b.needs = b.needs.or(l.needs)
			}
			e.bundles[call.BundleHash] = b
		}
	}
	e.mu.Unlock()
	b.once.Do(func() { b.bytecode, b.err = compile(string(b.source)) })
	if b.err != nil {
		return nil, &fn.ScriptError{Name: "SyntaxError", Message: "the bundle cannot be compiled: " + b.err.Error()}
	}
	return b, nil
}

// maxLibraries bounds how many compiled libraries are kept. A project has one.
const maxLibraries = 50

func (e *Engine) library(ctx context.Context, call fn.Call, hash string) (*library, error) {
	e.mu.Lock()
	l := e.libraries[hash]
	e.mu.Unlock()
	if l == nil {
		if call.Library == nil {
			return nil, syncline.Errorf(syncline.CodeInternal, "the bundle %s continues a library, and there is nobody to ask for it", call.BundleHash)
		}
		source, err := call.Library(ctx, hash)
		if err != nil {
			return nil, err
		}
		e.mu.Lock()
		if l = e.libraries[hash]; l == nil {
			if len(e.libraries) >= maxLibraries {
				clear(e.libraries)
			}
			l = &library{source: source, needs: needsOf(source)}
			e.libraries[hash] = l
		}
		e.mu.Unlock()
	}
	l.once.Do(func() {
		l.bytecode, l.err = compile(strings.Repeat("\n", libraryRows) + string(l.source))
		l.source = nil
	})
	if l.err != nil {
		return nil, &fn.ScriptError{Name: "SyntaxError", Message: "the library of the bundle cannot be compiled: " + l.err.Error()}
	}
	return l, nil
}

// compile makes bytecode. It is never taken from outside: QuickJS does not
// check it.
func compile(source string) ([]byte, error) {
	m, err := quickjs.NewVM()
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "cannot make a JavaScript context: %w", err)
	}
	defer m.Close()
	return m.Compile(source, quickjs.EvalGlobal)
}
