package host

import (
	"fmt"
	"testing"
	"time"

	"syncline"
)

func TestLinesAboutRequestsLeaveRoomForTheFunctionsOwn(t *testing.T) {
	t.Parallel()
	b := logBuffer{max: 3, now: func() time.Time { return time.Unix(1, 0) }}
	for i := range 10 {
		b.addCall(syncline.LogLine{Message: fmt.Sprint("GET ", i)})
	}
	for i := range 4 {
		b.add(syncline.LogLine{Message: fmt.Sprint("own ", i)})
	}
	var got []string
	for _, l := range b.take(true) {
		got = append(got, l.Message)
	}
	want := []string{"GET 0", "GET 1", "GET 2", "own 0", "own 1", "own 2",
		"1 further log lines were dropped; the limit is 3 for one run", "7 further lines about HTTP requests were dropped; the limit is 3 for one run"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("lines = %q", got)
	}
}
