package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"syncline"
)

func TestEveryCodeOfTheDomainHasAnExitCode(t *testing.T) {
	t.Parallel()
	for code, want := range map[syncline.Code]int{
		"": exitOK, syncline.CodeInvalid: exitUsage, syncline.CodeTooLarge: exitUsage, syncline.CodeNotFound: exitNotFound,
		syncline.CodeUnauthorized: exitUnauthorized, syncline.CodeForbidden: exitUnauthorized, syncline.CodeConflict: exitConflict,
		syncline.CodeUnavailable: exitUnavailable, syncline.CodeLimited: exitUnavailable, syncline.CodeInternal: exitFailed, syncline.CodeUpstream: exitFailed,
	} {
		var err error
		if code != "" {
			err = fmt.Errorf("while testing: %w", syncline.Errorf(code, "x"))
		}
		if got := exitCode(t.Context(), err); got != want {
			t.Errorf("code %q exits with %d, want %d", code, got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := exitCode(ctx, fmt.Errorf("asking: %w", context.Canceled)); got != exitInterrupted {
		t.Errorf("an interrupted command exits with %d", got)
	}
}

func TestAnErrorIsPrintedWithItsHintBelow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"plain":    {errors.New("it broke"), "Error: it broke\n"},
		"hint":     {syncline.Errorf(syncline.CodeConflict, "in use").WithHint("stop it"), "Error: in use\nHint:  stop it\n"},
		"wrapped":  {fmt.Errorf("serve: %w", syncline.Errorf(syncline.CodeConflict, "in use").WithHint("stop it")), "Error: serve: in use\nHint:  stop it\n"},
		"cause":    {syncline.Errorf(syncline.CodeUnavailable, "cannot open: %w", io.EOF).WithHint("try again"), "Error: cannot open: EOF\nHint:  try again\n"},
		"lines":    {errors.Join(errors.New("one"), errors.New("two")), "Error: one\n       two\n"},
		"controls": {errors.New("a\x1b[2Jb\u202ec"), "Error: a[2Jbc\n"},
	} {
		var out bytes.Buffer
		printError(&out, c.err)
		if out.String() != c.want {
			t.Errorf("%s: printed %q, want %q", name, out.String(), c.want)
		}
	}
}

func TestAQuestionIsAnsweredByYesAlone(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{"y\n": true, "Yes\n": true, " yes \r\n": true, "y": true, "\n": false, "": false, "no\n": false, "yep\n": false} {
		var out bytes.Buffer
		s := Streams{In: strings.NewReader(answer), Err: &out}
		if got, err := s.confirm(t.Context(), "Delete?"); err != nil || got != want {
			t.Errorf("%q is %t (%v), want %t", answer, got, err, want)
		}
		if out.String() != "Delete? [y/N] " {
			t.Errorf("asked %q", out.String())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, w := io.Pipe()
	defer w.Close()
	if _, err := (Streams{In: r, Err: io.Discard}).confirm(ctx, "Delete?"); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted question gives %v", err)
	}
}

func TestATableIsAlignedByWhatIsSeen(t *testing.T) {
	t.Parallel()
	table := table{}
	p := palette{on: true}
	table.row("A", "NONE", "B")
	table.row("日本", "", p.status("failed"))
	table.row("x", "", "y")
	var out bytes.Buffer
	if err := table.write(&out, palette{}); err != nil {
		t.Fatal(err)
	}
	if want := "A     B\n日本  " + p.status("failed") + "\nx     y\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if !strings.Contains(p.status("failed"), "\x1b[") || (palette{}).status("failed") != "failed" {
		t.Errorf("colours: %q, %q", p.status("failed"), palette{}.status("failed"))
	}
}
