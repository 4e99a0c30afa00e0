package worker

import (
	"testing"

	"syncline"
	"syncline/internal/fn"
)

func TestTheLimitThatCutARunTravels(t *testing.T) {
	t.Parallel()
	err := syncline.Errorf(syncline.CodeLimit, "the run took longer than %s", "1s").WithField(fn.LimitWall).WithHint("raise it")
	got := decodeError(encodeError(err))
	if fn.CutAt(got) != fn.LimitWall || got.Error() != err.Error() || syncline.CodeOf(got) != syncline.CodeLimit {
		t.Errorf("%v at %q", got, fn.CutAt(got))
	}
	if limit := fn.CutAt(syncline.Errorf(syncline.CodeInvalid, "no").WithField(fn.LimitWall)); limit != "" {
		t.Errorf("%q of an error that is of no limit", limit)
	}
}
