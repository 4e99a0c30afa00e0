package app

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"syncline/internal/cli"
	"syncline/sdk"
)

func TestTheCommandLineIsWhole(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	s := cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs}
	if code := run(t.Context(), []string{"--help"}, s, nil, Build("1")); code != 0 {
		t.Fatalf("it exits with %d: %s", code, &errs)
	}
	for _, command := range []string{"serve", "deploy", "runs"} {
		if !strings.Contains(out.String(), "\n  "+command+" ") {
			t.Errorf("there is no command %s", command)
		}
	}
}

func TestAFunctionWithAMistakeIsNamedBeforeAnythingIsDone(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"serve"}, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs}, sdk.Functions{
		sdk.OnEvent{Name: "hello", Integration: "crm", Event: sdk.ValidateConnection},
		sdk.OnEvent{Name: "bye", Event: sdk.PreConnectionDeletion, Exec: func(context.Context, *sdk.Handle) error { return nil }},
	})
	if code != 2 || !strings.Contains(errs.String(), `on-event "hello": Exec is missing`) || !strings.Contains(errs.String(), `on-event "bye": the Integration is missing`) {
		t.Errorf("it exits with %d: %s", code, &errs)
	}
}
