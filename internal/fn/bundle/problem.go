package bundle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is something to mend in a project, and where.
type Problem struct {
	Place
	Message string
	Hint    string // what to do; may be ""
}

// String is the problem as editors and terminals link it:
// "github/syncs/issues.ts:3:7: message (hint)".
func (p Problem) String() string {
	var s strings.Builder
	if p.File != "" {
		s.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&s, ":%d", p.Line)
			if p.Column > 0 {
				fmt.Fprintf(&s, ":%d", p.Column)
			}
		}
		s.WriteString(": ")
	}
	s.WriteString(p.Message)
	if p.Hint != "" {
		fmt.Fprintf(&s, " (%s)", p.Hint)
	}
	return s.String()
}

// Problems is everything that is wrong with a project.
type Problems []Problem

// Error lists the problems, a line each.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(comparePlaces(a.Place, b.Place), cmp.Compare(a.Message, b.Message))
	})
}
