package sqlite

import (
	"errors"

	modernc "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"syncline"
)

// storageError gives a driver error its code: what the machine cannot do now is
// unavailable, a broken file or a defect of ours is internal, a constraint is
// left to the method that knows what it means.
func storageError(path string, err error) error {
	var e *modernc.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_FULL:
		return syncline.Errorf(syncline.CodeUnavailable, "the store %s cannot grow: %w", path, err).
			WithHint("free space on its disk; nothing of the failed transaction was kept")
	case lib.SQLITE_IOERR, lib.SQLITE_CANTOPEN, lib.SQLITE_READONLY, lib.SQLITE_PERM, lib.SQLITE_NOLFS:
		return syncline.Errorf(syncline.CodeUnavailable, "the store %s cannot be read or written: %w", path, err).
			WithHint("check the disk and the permissions of the data directory")
	case lib.SQLITE_NOMEM:
		return syncline.Errorf(syncline.CodeUnavailable, "no memory left for the store %s: %w", path, err)
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_PROTOCOL:
		return syncline.Errorf(syncline.CodeUnavailable, "the store %s is locked by another process: %w", path, err).
			WithHint("stop the other process that has it open")
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return syncline.Errorf(syncline.CodeUnavailable, "the store %s is damaged: %w", path, err).
			WithHint("stop the server and restore a backup")
	case lib.SQLITE_TOOBIG:
		return syncline.Errorf(syncline.CodeTooLarge, "a value is larger than the store takes (1,000,000,000 bytes): %w", err)
	case lib.SQLITE_CONSTRAINT:
		return &constraintError{code: e.Code(), err: err}
	}
	return syncline.Errorf(syncline.CodeInternal, "store: %w", err)
}

// constraintError is a constraint that a statement would have broken. Methods
// turn it into conflict or not_found; one that reaches a caller is internal.
type constraintError struct {
	code int
	err  error
}

func (e *constraintError) Error() string { return "store: " + e.err.Error() }
func (e *constraintError) Unwrap() error { return e.err }

// isLocked reports whether another connection has the file.
func isLocked(err error) bool {
	var e *modernc.Error
	return errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_BUSY
}

// isUnique reports whether err is a value that exists already.
func isUnique(err error) bool {
	var c *constraintError
	return errors.As(err, &c) && (c.code == lib.SQLITE_CONSTRAINT_UNIQUE || c.code == lib.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// isForeign reports whether err is a reference to a row that does not exist
// in the environment.
func isForeign(err error) bool {
	var c *constraintError
	return errors.As(err, &c) && c.code == lib.SQLITE_CONSTRAINT_FOREIGNKEY
}

// written gives the error of an insert or update its meaning: what exists
// already is a conflict, a parent that is not there is not_found.
func written(err error, what string, key any, parents string) error {
	switch {
	case isUnique(err):
		return syncline.Errorf(syncline.CodeConflict, "%s %v exists already", what, key)
	case isForeign(err):
		return syncline.Errorf(syncline.CodeNotFound, "%s %v names %s that does not exist in this environment", what, key, parents)
	}
	return err
}
