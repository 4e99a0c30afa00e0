package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"syncline"
)

// The SQLSTATEs that mean something to us.
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	queryCanceled        = "57014"
	insufficientRights   = "42501"
	programLimitExceeded = "54000"
	readOnly             = "25006"
	diskFull             = "53100"
	featureNotSupported  = "0A000"
	adminShutdown        = "57P01"
	crashShutdown        = "57P02"
)

var errClosed = syncline.Errorf(syncline.CodeUnavailable, "the inbox is closed")

// inboxError gives a driver error its code: what the server cannot do now is
// unavailable, a defect of ours is internal.
func inboxError(err error) error {
	var own *syncline.Error
	if err == nil || errors.As(err, &own) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		// Not said by the server, so it could not be reached, or was lost.
		return syncline.Errorf(syncline.CodeUnavailable, "the inbox's database cannot be reached: %w", err)
	}
	switch e.Code {
	case serializationFailure, deadlockDetected:
		return syncline.Errorf(syncline.CodeUnavailable, "the inbox is too contended: %w", err).WithHint("try again")
	case diskFull:
		return syncline.Errorf(syncline.CodeUnavailable, "the inbox's database cannot grow: %w", err).WithHint("free space on its disk")
	case queryCanceled:
		return syncline.Errorf(syncline.CodeUnavailable, "the inbox's database gave up: %w", err)
	case readOnly:
		return syncline.Errorf(syncline.CodeUnavailable, "the inbox's database can only be read: %w", err).
			WithHint("the connection may lead to a standby")
	case insufficientRights:
		return syncline.Errorf(syncline.CodeUnavailable, "the inbox's user may not do this: %w", err).
			WithHint("the user must own the inbox's tables")
	case programLimitExceeded:
		return syncline.Errorf(syncline.CodeTooLarge, "a delivery is larger than the inbox takes: %w", err)
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "08", "28", "3D", "53", "57", "58", "XX": // connection, authorization, no such database, resources, shutdown, I/O, damage
		return syncline.Errorf(syncline.CodeUnavailable, "the inbox's database is not available: %w", err)
	}
	return syncline.Errorf(syncline.CodeInternal, "inbox: %w", err)
}

// isTransient reports whether the same transaction, which did not commit, may
// succeed when it runs again at once: nothing of it was sent, or the server said
// that it undid it. Prepared statements whose tables another version has just
// changed are prepared anew.
func isTransient(err error) bool {
	if pgconn.SafeToRetry(err) {
		return true
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case serializationFailure, deadlockDetected, adminShutdown, crashShutdown:
		return true
	case featureNotSupported:
		return strings.Contains(e.Message, "cached plan must not change result type")
	}
	return false
}

// late is what is said when the time of ours has passed, and not that of a caller.
func late(err error) error {
	return syncline.Errorf(syncline.CodeUnavailable, "the inbox's database does not answer: %s", err) // not its context's error
}
