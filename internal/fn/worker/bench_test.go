package worker_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"syncline/internal/fn"
	"syncline/internal/fn/bundle"
	"syncline/internal/fn/worker"
)

// benchmarked is a pool and a call of the example's sync, which is bundled with zod.
func benchmarked(b *testing.B) (*worker.Pool, fn.Call) {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	project, err := bundle.Build(b.Context(), bundle.Options{Dir: "../../../examples/github-issues"})
	if err != nil {
		b.Skip(err) // without its packages: make packages
	}
	p := worker.NewPool(worker.Options{Command: func() *exec.Cmd { return exec.Command(exe) }})
	b.Cleanup(p.Close)
	f := project.Functions[0]
	return p, fn.Call{
		EnvironmentID: 1, Entry: fn.EntryOnWebhook, BundleHash: f.Hash,
		Bundle:  func(context.Context) ([]byte, error) { return f.Source, nil },
		Library: func(_ context.Context, hash string) ([]byte, error) { return project.Libraries[hash], nil },
		Input: json.RawMessage(`{"action":"opened","issue":{"id":1,"number":1,"title":"x","html_url":"u","created_at":"2026-01-01T00:00:00Z",` +
			`"updated_at":"2026-01-01T00:00:00Z","body":"` + strings.Repeat("lorem ", 1000) + `"}}`),
	}
}

// A webhook call in a warm context: through the pipe and back, with one host call.
func BenchmarkWarmWebhookCall(b *testing.B) {
	p, c := benchmarked(b)
	c.WarmKey = "connection"
	for b.Loop() {
		if _, err := p.Run(b.Context(), c, yes); err != nil {
			b.Fatal(err)
		}
	}
}

// The same in a fresh context, as polls have: it is made and zod is loaded.
func BenchmarkFreshContextWithZod(b *testing.B) {
	p, c := benchmarked(b)
	for b.Loop() {
		if _, err := p.Run(b.Context(), c, yes); err != nil {
			b.Fatal(err)
		}
	}
}
