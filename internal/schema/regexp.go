package schema

import (
	"regexp"
	"time"

	"github.com/dlclark/regexp2"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxMatch bounds one match of a pattern that may backtrack.
const maxMatch = 250 * time.Millisecond

// compileRegexp compiles a pattern of JavaScript. Go's own engine takes linear
// time; what it cannot express (lookaheads, backreferences) backtracks.
func compileRegexp(pattern string) (jsonschema.Regexp, error) {
	if re, err := regexp.Compile(pattern); err == nil {
		return re, nil
	}
	re, err := regexp2.Compile(pattern, regexp2.ECMAScript|regexp2.Unicode)
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = maxMatch
	return backtracking{re}, nil
}

type backtracking struct{ *regexp2.Regexp }

// MatchString reports whether s holds a match.
func (b backtracking) MatchString(s string) bool {
	ok, err := b.Regexp.MatchString(s)
	if err != nil {
		panic(tooMuch("the pattern " + shorten(b.String()) + " took longer than " + maxMatch.String()))
	}
	return ok
}
