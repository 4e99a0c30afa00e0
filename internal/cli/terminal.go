package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"charm.land/lipgloss/v2"
	"github.com/mattn/go-isatty"
)

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && (isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()))
}

// palette colours words, or leaves them alone where there is no colour.
type palette struct{ on bool }

// colours are on when the output is a terminal that has them and NO_COLOR
// (no-color.org) is not set.
func (s Streams) colours() palette {
	return palette{isTerminal(s.Out) && s.Getenv("NO_COLOR") == "" && s.Getenv("TERM") != "dumb"}
}

var tones = map[string]lipgloss.Style{
	"good": lipgloss.NewStyle().Foreground(lipgloss.Green),
	"bad":  lipgloss.NewStyle().Foreground(lipgloss.Red),
	"warn": lipgloss.NewStyle().Foreground(lipgloss.Yellow),
	"dim":  lipgloss.NewStyle().Faint(true),
}

func (p palette) paint(tone, text string) string {
	style, ok := tones[tone]
	if !p.on || !ok {
		return text
	}
	return style.Render(text)
}

// statusTones colours the states of runs, deliveries and changes.
var statusTones = map[string]string{
	"success": "good", "processed": "good", "created": "good",
	"failed": "bad", "dead": "bad", "deleted": "bad", "reaped": "bad", "error": "bad",
	"retrying": "warn", "parked": "warn", "expired": "warn", "updated": "warn", "warn": "warn", "missing": "warn",
	"ignored": "dim", "unchanged": "dim", "canceled": "dim", "debug": "dim",
}

func (p palette) status(s string) string { return p.paint(statusTones[s], s) }

// clean makes text from elsewhere safe for a terminal: a name or a message
// must not move the cursor or hide what it says.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, text)
}

// table writes rows in aligned columns; the first row is the heading.
type table struct {
	rows [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// write prints the table. Columns that are empty in every row but the heading
// are left out.
func (t *table) write(w io.Writer, p palette) error {
	if len(t.rows) == 0 {
		return nil
	}
	widths := make([]int, len(t.rows[0]))
	used := make([]bool, len(t.rows[0]))
	for n, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], lipgloss.Width(cell))
			used[i] = used[i] || n > 0 && cell != ""
		}
	}
	for n, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			if !used[i] && len(t.rows) > 1 {
				continue
			}
			pad := strings.Repeat(" ", widths[i]-lipgloss.Width(cell)+2)
			if n == 0 {
				cell = p.paint("dim", cell)
			}
			line.WriteString(cell + pad)
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// confirm asks a yes-or-no question on the terminal; anything but yes is no.
func (s Streams) confirm(ctx context.Context, question string) (bool, error) {
	fmt.Fprintf(s.Err, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() { // the read of a terminal cannot be interrupted
		line, _ := bufio.NewReader(s.In).ReadString('\n')
		answer <- line
	}()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case line := <-answer:
		line = strings.ToLower(strings.TrimSpace(line))
		return line == "y" || line == "yes", nil
	}
}

// interactive reports whether there is someone to ask.
func (s Streams) interactive() bool {
	return isTerminal(s.In) && isTerminal(s.Err) && s.Getenv("CI") == ""
}
