package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/worker"
)

// orphanVariable makes the test binary a server that never ends by itself.
const orphanVariable = "SYNCLINE_TEST_SERVER_THAT_HANGS"

// The test binary is its own worker: started with the variable below it serves
// standard input, as `syncline worker` does.
func TestMain(m *testing.M) {
	if os.Getenv(orphanVariable) != "" {
		serverThatHangs()
	}
	if memory := os.Getenv(worker.MemoryVariable); memory != "" {
		os.Exit(worker.Main(context.Background(), os.Stdin, os.Stdout, memory))
	}
	goleak.VerifyTestMain(m)
}

func processes(t *testing.T, o worker.Options) *worker.Pool {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o.Command = func() *exec.Cmd { return exec.Command(exe) }
	p := worker.NewPool(o)
	t.Cleanup(p.Close)
	return p
}

func inProcess(t *testing.T, o worker.Options) *worker.Pool {
	t.Helper()
	p := worker.NewPool(o)
	t.Cleanup(p.Close)
	return p
}

type host func(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error)

func (h host) Call(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	return h(ctx, method, args)
}

func (h host) Log(syncline.LogLine) {}

var yes = host(func(context.Context, string, json.RawMessage) (json.RawMessage, error) {
	return json.RawMessage("true"), nil
})

func newCall(statements string) fn.Call {
	source := `var __syncline_fn = { default: { exec: async (nango, input) => {` + statements + `} } };`
	return fn.Call{
		EnvironmentID: 1, Entry: fn.EntryExec, BundleHash: source, Limits: fn.Limits{Wall: 20 * time.Second},
		Bundle: func(context.Context) ([]byte, error) { return []byte(source), nil },
	}
}

func TestACallGoesThroughAProcessAndBack(t *testing.T) {
	t.Parallel()
	p := processes(t, worker.Options{})
	var asked []string
	h := host(func(_ context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
		asked = append(asked, method+string(args))
		if method == fn.MethodGetMetadata {
			return json.RawMessage(`{"a":"é"}`), nil
		}
		return json.RawMessage("true"), nil
	})
	c := newCall(`const m = await nango.getMetadata(); await nango.batchSave([{ id: '1', m }], 'M'); return [m.a, input.x, typeof process]`)
	c.Input = json.RawMessage(`{"x":[1]}`)
	out, err := p.Run(t.Context(), c, h)
	if err != nil || string(out) != `["é",[1],"undefined"]` {
		t.Fatalf("got %s, %v", out, err)
	}
	if want := `[getMetadata{} batchSave{"model":"M","records":[{"id":"1","m":{"a":"é"}}]}]`; fmt.Sprint(asked) != want {
		t.Errorf("the host was asked %v", asked)
	}
}

func TestErrorsKeepTheirKindAcrossTheProcess(t *testing.T) {
	t.Parallel()
	p := processes(t, worker.Options{})
	var script *fn.ScriptError
	if _, err := p.Run(t.Context(), newCall(`throw new TypeError('no')`), yes); !errors.As(err, &script) || script.Name != "TypeError" || script.Message != "no" {
		t.Errorf("a script error came as %#v", err)
	}
	fenced := host(func(context.Context, string, json.RawMessage) (json.RawMessage, error) {
		return nil, syncline.Errorf(syncline.CodeFenced, "moved on")
	})
	if _, err := p.Run(t.Context(), newCall(`await nango.batchSave([{ id: 1 }], 'M')`), fenced); !errors.As(err, &script) || script.HostCode != syncline.CodeFenced {
		t.Errorf("a host error came as %#v", err)
	}
	c := newCall(`for (;;);`)
	c.Limits.CPU = 100 * time.Millisecond
	_, err := p.Run(t.Context(), c, yes)
	var coded *syncline.Error
	if !errors.As(err, &coded) || coded.Code != syncline.CodeLimit || coded.Hint == "" || !strings.Contains(coded.Message, "100ms") {
		t.Errorf("a limit came as %#v", err)
	}
}

func TestAWorkerThatDiesLosesItsRunsAndIsReplaced(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("filling memory takes too long under the race detector")
	}
	p := processes(t, worker.Options{Workers: 1, Memory: 200 << 20})
	c := newCall(`const a = []; for (let i = 0; ; i++) a.push(JSON.parse('"' + 'x'.repeat(1 << 20) + '"') + i)`)
	c.Limits.Memory = 4 << 30 // beyond what the process may use
	c.Limits.CPU = time.Minute
	_, err := p.Run(t.Context(), c, yes)
	if syncline.CodeOf(err) != syncline.CodeWorkerLost || !strings.Contains(err.Error(), "memory limit of 200 MiB") {
		t.Errorf("the run ended with %v", err)
	}
	if !fn.Unavailable(err) {
		t.Error("a lost worker is not the function's fault")
	}
	if out, err := p.Run(t.Context(), newCall(`return 1`), yes); err != nil || string(out) != "1" {
		t.Errorf("the next run got %s, %v", out, err)
	}
}

func TestACanceledRunEndsAndTheWorkerLivesOn(t *testing.T) {
	t.Parallel()
	p := processes(t, worker.Options{Workers: 1})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("moved")
	started := host(func(ctx context.Context, _ string, _ json.RawMessage) (json.RawMessage, error) {
		cancel(why)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if _, err := p.Run(ctx, newCall(`await nango.getMetadata()`), started); !errors.Is(err, why) {
		t.Errorf("the run ended with %v", err)
	}
	if out, err := p.Run(t.Context(), newCall(`return 1`), yes); err != nil || string(out) != "1" {
		t.Errorf("the next run got %s, %v", out, err)
	}
}

func TestBackgroundCallsLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	p := inProcess(t, worker.Options{Workers: 1, Slots: 4})
	release := make(chan struct{})
	var entered sync.WaitGroup
	entered.Add(3)
	block := host(func(context.Context, string, json.RawMessage) (json.RawMessage, error) {
		entered.Done()
		<-release
		return json.RawMessage("{}"), nil
	})
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			c := newCall(`await nango.getMetadata()`)
			c.Background = true
			if _, err := p.Run(t.Context(), c, block); err != nil {
				t.Error(err)
			}
		})
	}
	entered.Wait() // three of four slots are taken; the other polls wait
	if out, err := p.Run(t.Context(), newCall(`return 'webhook'`), yes); err != nil || string(out) != `"webhook"` {
		t.Errorf("got %s, %v", out, err)
	}
	entered.Add(3)
	close(release)
	all.Wait()
}

func TestAClosedPoolRefusesCalls(t *testing.T) {
	t.Parallel()
	p := inProcess(t, worker.Options{})
	if _, err := p.Run(t.Context(), newCall(``), yes); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if _, err := p.Run(t.Context(), newCall(``), yes); syncline.CodeOf(err) != syncline.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}

func TestABundleIsSentOnceAndItsContextStaysWarm(t *testing.T) {
	t.Parallel()
	p := processes(t, worker.Options{})
	var sent atomic.Int32
	c := newCall(`globalThis.n = (globalThis.n ?? 0) + 1; return n`)
	source := c.Bundle
	c.Bundle = func(ctx context.Context) ([]byte, error) {
		sent.Add(1)
		return source(ctx)
	}
	c.WarmKey = "connection"
	for want := range 3 {
		if out, err := p.Run(t.Context(), c, yes); err != nil || string(out) != fmt.Sprint(want+1) {
			t.Errorf("call %d got %s, %v", want+1, out, err)
		}
	}
	if n := sent.Load(); n != 1 {
		t.Errorf("the bundle was sent %d times", n)
	}
}

func TestLargePayloadsGoThrough(t *testing.T) {
	t.Parallel()
	p := processes(t, worker.Options{})
	n := 4 << 20
	if testing.Short() { // the engine is slow under the race detector
		n = 256 << 10
	}
	big := strings.Repeat("é", n)
	var metadata json.RawMessage
	h := host(func(_ context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
		if method == fn.MethodSetMetadata {
			metadata = args
		}
		return metadata, nil
	})
	c := newCall(`await nango.setMetadata({ big: input.big }); const back = await nango.getMetadata(); return back.metadata.big === input.big && input.big.length`)
	c.Input = json.RawMessage(`{"big":"` + big + `"}`)
	if out, err := p.Run(t.Context(), c, h); err != nil || string(out) != fmt.Sprint(n) {
		t.Errorf("got %.100s, %v", out, err)
	}
}

func TestBundlesThatContinueALibraryShareIt(t *testing.T) {
	t.Parallel()
	p := processes(t, worker.Options{Workers: 1})
	var sent atomic.Int32
	library := "globalThis.shared = {\n\tadd(a, b) { return a + b },\n\tfail() { throw new Error('of the library') },\n};"
	call := func(body string) fn.Call {
		c := newCall("")
		text := string(fn.WithLibrary(strings.Repeat("ab", 32), []byte("var __syncline_fn = { exec: async (nango, input) => { "+body+" } };")))
		c.BundleHash = text
		c.Bundle = func(context.Context) ([]byte, error) { return []byte(text), nil }
		c.Library = func(_ context.Context, hash string) ([]byte, error) {
			sent.Add(1)
			if hash != strings.Repeat("ab", 32) {
				t.Errorf("the library %s was asked for", hash)
			}
			return []byte(library), nil
		}
		return c
	}
	for i := range 3 {
		out, err := p.Run(t.Context(), call(fmt.Sprintf("return shared.add(%d, 1)", i)), yes)
		if err != nil || string(out) != fmt.Sprint(i+1) {
			t.Errorf("call %d got %s, %v", i, out, err)
		}
	}
	if n := sent.Load(); n != 1 {
		t.Errorf("the library was sent %d times", n)
	}
	var script *fn.ScriptError
	if _, err := p.Run(t.Context(), call("shared.fail()"), yes); !errors.As(err, &script) || script.Message != "of the library" {
		t.Errorf("an error of the library is %v", err)
	}
	lost := call("return 1")
	lost.BundleHash += " "
	lost.Bundle = func(context.Context) ([]byte, error) {
		return fn.WithLibrary(strings.Repeat("cd", 32), []byte("var __syncline_fn = {};")), nil
	}
	lost.Library = func(context.Context, string) ([]byte, error) {
		return nil, syncline.Errorf(syncline.CodeNotFound, "there is no such bundle")
	}
	if _, err := p.Run(t.Context(), lost, yes); syncline.CodeOf(err) != syncline.CodeNotFound {
		t.Errorf("without its library: %v", err)
	}
}
