package syncline

import "time"

// Variable is a value that an environment gives its functions.
type Variable struct {
	EnvironmentID int64
	Name          string // letters, digits and _; unique in the environment
	Value         Sealed
	UpdatedAt     time.Time
}

// Lock keeps the functions of an environment from doing the same thing at the
// same time.
type Lock struct {
	EnvironmentID int64
	Key           string
	// Owner is the run that holds it: its UUID.
	Owner string
	// Until is when it is free again, whatever its owner does.
	Until time.Time
	// Kind, InstanceID and LeaseEpoch name the lease under which the owner runs:
	// when that is another's, the owner is gone. An instance of 0 says that the
	// owner runs under none.
	Kind       RunKind
	InstanceID int64
	LeaseEpoch int64
}
