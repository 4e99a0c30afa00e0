package host

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"syncline"
)

// maxLogMessage is how long one message may be, in bytes; the rest is cut.
const maxLogMessage = 16 << 10

// logBuffer collects a run's log lines until they are written.
type logBuffer struct {
	mu      sync.Mutex
	max     int
	now     func() time.Time
	lines   []syncline.LogLine
	seen    int
	dropped int
	// Lines about HTTP requests are bounded apart, so that a poll of many pages
	// leaves room for what its function says.
	calls   int
	unnamed int
}

func (b *logBuffer) add(l syncline.LogLine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen >= b.max {
		b.dropped++
		return
	}
	b.seen++
	b.keep(l)
}

// addCall adds a line about an HTTP request.
func (b *logBuffer) addCall(l syncline.LogLine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.calls >= b.max {
		b.unnamed++
		return
	}
	b.calls++
	b.keep(l)
}

// keep is called with mu held.
func (b *logBuffer) keep(l syncline.LogLine) {
	if l.At.IsZero() {
		l.At = b.now()
	}
	if len(l.Message) > maxLogMessage {
		l.Message = strings.ToValidUTF8(l.Message[:maxLogMessage], "") + fmt.Sprintf("… (%d bytes more)", len(l.Message)-maxLogMessage)
	}
	b.lines = append(b.lines, l)
}

// take returns the lines collected since the last take. final adds how many
// were dropped.
func (b *logBuffer) take(final bool) []syncline.LogLine {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := b.lines
	b.lines = nil
	if final && b.dropped > 0 {
		lines = append(lines, syncline.LogLine{
			At: b.now(), Level: syncline.LogWarn,
			Message: fmt.Sprintf("%d further log lines were dropped; the limit is %d for one run", b.dropped, b.max),
		})
		b.dropped = 0
	}
	if final && b.unnamed > 0 {
		lines = append(lines, syncline.LogLine{
			At: b.now(), Level: syncline.LogWarn,
			Message: fmt.Sprintf("%d further lines about HTTP requests were dropped; the limit is %d for one run", b.unnamed, b.max),
		})
		b.unnamed = 0
	}
	return lines
}

// putBack returns lines that could not be written, before those that came since.
func (b *logBuffer) putBack(lines []syncline.LogLine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(lines, b.lines...)
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
