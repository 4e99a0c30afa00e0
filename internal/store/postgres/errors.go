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
	uniqueViolation      = "23505"
	foreignKeyViolation  = "23503"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	queryCanceled        = "57014"
	insufficientRights   = "42501"
	programLimitExceeded = "54000"
	readOnly             = "25006"
	diskFull             = "53100"
	featureNotSupported  = "0A000"
	undefinedTable       = "42P01"
)

// storageError gives a driver error its code: what the server cannot do now is
// unavailable, a defect of ours is internal, a constraint is left to the method
// that knows what it means.
func storageError(err error) error {
	var own *syncline.Error
	if err == nil || errors.As(err, &own) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		// Not said by the server, so it could not be reached, or was lost.
		return syncline.Errorf(syncline.CodeUnavailable, "the store's database cannot be reached: %w", err)
	}
	switch e.Code {
	case uniqueViolation, foreignKeyViolation:
		return &constraintError{code: e.Code, err: err}
	case serializationFailure, deadlockDetected:
		return syncline.Errorf(syncline.CodeUnavailable, "the store is too contended: %w", err).WithHint("try again")
	case diskFull:
		return syncline.Errorf(syncline.CodeUnavailable, "the store's database cannot grow: %w", err).
			WithHint("free space on its disk; nothing of the failed transaction was kept")
	case queryCanceled:
		return syncline.Errorf(syncline.CodeUnavailable, "the store's database gave up: %w", err)
	case readOnly:
		return syncline.Errorf(syncline.CodeUnavailable, "the store's database can only be read: %w", err).
			WithHint("the connection may lead to a standby")
	case insufficientRights:
		return syncline.Errorf(syncline.CodeUnavailable, "the store's user may not do this: %w", err).
			WithHint("the user must own the store's tables")
	case programLimitExceeded:
		return syncline.Errorf(syncline.CodeTooLarge, "a value is larger than the store takes: %w", err)
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "08", "28", "3D", "53", "57", "58", "XX": // connection, authorization, no such database, resources, shutdown, I/O, damage
		return syncline.Errorf(syncline.CodeUnavailable, "the store's database is not available: %w", err)
	}
	return syncline.Errorf(syncline.CodeInternal, "store: %w", err)
}

// constraintError is a constraint that a statement would have broken. Methods
// turn it into conflict or not_found; one that reaches a caller is internal.
type constraintError struct {
	code string
	err  error
}

func (e *constraintError) Error() string { return "store: " + e.err.Error() }
func (e *constraintError) Unwrap() error { return e.err }

// isUnique reports whether err is a value that exists already.
func isUnique(err error) bool {
	var c *constraintError
	return errors.As(err, &c) && c.code == uniqueViolation
}

// isTransient reports whether the same transaction may succeed when it runs
// again. Prepared statements whose tables another version has just changed are
// prepared anew.
func isTransient(err error) bool {
	var e *pgconn.PgError
	return errors.Is(err, errStale) || errors.As(err, &e) && (e.Code == serializationFailure || e.Code == deadlockDetected ||
		e.Code == featureNotSupported && strings.Contains(e.Message, "cached plan must not change result type"))
}

func conflict(what string, key any) error {
	return syncline.Errorf(syncline.CodeConflict, "%s %v exists already", what, key)
}
