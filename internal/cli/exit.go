package cli

import (
	"context"
	"errors"

	"syncline"
)

// Exit codes. Scripts rely on them.
const (
	exitOK           = 0
	exitFailed       = 1   // anything without a code of its own
	exitUsage        = 2   // wrong flags, settings or input; problems in the project
	exitNotFound     = 3   // what was named does not exist
	exitUnauthorized = 4   // no key, a wrong key, or not allowed
	exitConflict     = 5   // the state forbids it; a data directory in use; a destructive change not confirmed
	exitUnavailable  = 6   // the server cannot be reached or cannot take it now
	exitInterrupted  = 130 // ended by a signal before it was done
)

// exitCodes maps the codes of errors to exit codes. It is the only such map.
var exitCodes = map[syncline.Code]int{
	syncline.CodeInvalid:      exitUsage,
	syncline.CodeTooLarge:     exitUsage,
	syncline.CodeMethod:       exitUsage,
	syncline.CodeNotFound:     exitNotFound,
	syncline.CodeUnauthorized: exitUnauthorized,
	syncline.CodeForbidden:    exitUnauthorized,
	syncline.CodeConflict:     exitConflict,
	syncline.CodeFenced:       exitConflict,
	syncline.CodeUnavailable:  exitUnavailable,
	syncline.CodeLimited:      exitUnavailable,
}

// errShown fails a command that has printed already what is wrong.
var errShown = errors.New("shown already")

// shown gives errShown the code of what was shown.
func shown(code syncline.Code) error { return syncline.Errorf(code, "%w", errShown) }

// Fail prints an error that came before any command, and returns its exit code.
func Fail(s Streams, err error) int {
	printError(s.Err, err)
	return exitCode(context.Background(), err)
}

func exitCode(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	if code, ok := exitCodes[syncline.CodeOf(err)]; ok {
		return code
	}
	return exitFailed
}
