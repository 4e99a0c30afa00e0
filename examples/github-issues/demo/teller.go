package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
)

// teller writes the story: a line for what happened, with what is in the cache
// and how long it took.
type teller struct {
	w                        io.Writer
	good, faint, title, time lipgloss.Style
	plain                    bool
}

func newTeller(f *os.File) *teller {
	t := &teller{w: f}
	info, err := f.Stat()
	t.plain = err != nil || info.Mode()&os.ModeCharDevice == 0 || os.Getenv("NO_COLOR") != ""
	t.good = lipgloss.NewStyle().Foreground(lipgloss.Green).Bold(true)
	t.faint = lipgloss.NewStyle().Faint(true)
	t.title = lipgloss.NewStyle().Bold(true)
	t.time = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
	return t
}

func (t *teller) paint(s lipgloss.Style, text string) string {
	if t.plain {
		return text
	}
	return s.Render(text)
}

func (t *teller) heading(text string) {
	fmt.Fprintf(t.w, "\n%s\n\n", t.paint(t.title, text))
}

// line tells one checked fact. took is left out when it is 0.
func (t *teller) line(what string, took time.Duration, cache string) {
	if took > 0 {
		fmt.Fprintf(t.w, " %s %-78s %s\n", t.paint(t.good, "✓"), what, t.paint(t.time, fmt.Sprintf("%9s", round(took))))
	} else {
		fmt.Fprintf(t.w, " %s %s\n", t.paint(t.good, "✓"), what)
	}
	if cache != "" {
		fmt.Fprintf(t.w, "   %s\n", t.paint(t.faint, cache))
	}
}

func (t *teller) text(format string, args ...any) {
	fmt.Fprintf(t.w, strings.TrimRight(format, "\n")+"\n", args...)
}

func round(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
