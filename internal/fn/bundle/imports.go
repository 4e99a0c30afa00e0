package bundle

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// imported is a module that a file imports, and where it says so.
type imported struct {
	path         string
	line, column int // of the quoted path, from 1
}

// imports lists what a file imports or re-exports by static statements, in
// their order, each as often as it stands there. Type-only imports do not
// count: nothing of them is left when the file runs. The source may have
// errors; those are esbuild's to report.
func imports(source string) []imported {
	var all []imported
	s := scanner{source: source, line: 1, column: 1}
	t := s.next()
	for t.kind != endToken {
		if t.kind != wordToken || (t.text != "import" && t.text != "export") || s.afterDot {
			t = s.next()
			continue
		}
		statement := t.text
		t = s.next()
		typeOnly := t.kind == wordToken && t.text == "type"
		if statement == "import" && t.kind == stringToken {
			all = append(all, imported{t.text, t.line, t.column})
			continue
		}
		clause := t.kind == wordToken || t.text == "{" || t.text == "*"
		if statement == "export" {
			clause = t.text == "{" || t.text == "*" || typeOnly
		}
		// The clause goes up to "from" and the path. An export without "from"
		// ends with its braces.
		for braces := 0; clause && t.kind != endToken; {
			switch {
			case t.text == "{" && t.kind == markToken:
				braces++
			case t.text == "}" && t.kind == markToken:
				braces--
			case braces == 0 && t.kind == wordToken && t.text == "from":
				if t = s.next(); t.kind == stringToken {
					if !typeOnly {
						all = append(all, imported{t.text, t.line, t.column})
					}
					clause = false
				}
				continue
			case braces == 0 && (t.kind == stringToken || !strings.Contains("*,", t.text) && t.kind == markToken):
				clause = false
				continue
			case braces == 0 && t.kind == wordToken && (t.text == "import" || t.text == "export"):
				clause = false
				continue
			}
			t = s.next()
		}
	}
	return all
}

type tokenKind int

const (
	endToken tokenKind = iota
	wordToken
	stringToken // text is what is between the quotes
	markToken   // any other character
)

type token struct {
	kind         tokenKind
	text         string
	line, column int
}

// scanner splits JavaScript into the few tokens that imports consist of.
type scanner struct {
	source       string
	at           int
	line, column int
	last         string
	afterDot     bool // the token before the newest is "."
}

func (s *scanner) next() token {
	s.afterDot = s.last == "."
	t := s.scan()
	s.last = ""
	if t.kind == markToken {
		s.last = t.text
	}
	return t
}

func (s *scanner) scan() token {
	for s.at < len(s.source) {
		rest := s.source[s.at:]
		r, _ := utf8.DecodeRuneInString(rest)
		switch {
		case strings.HasPrefix(rest, "//"):
			s.skip(until(rest, "\n"))
		case strings.HasPrefix(rest, "/*"):
			s.skip(2 + until(rest[2:], "*/"))
		case unicode.IsSpace(r) || r == '\ufeff':
			s.skip(utf8.RuneLen(r))
		case r == '"' || r == '\'':
			return s.quoted(rest[0])
		case r == '`':
			s.template()
		case r == '_' || r == '$' || unicode.IsLetter(r) || unicode.IsDigit(r):
			n := strings.IndexFunc(rest, func(r rune) bool {
				return r != '_' && r != '$' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
			})
			if n < 0 {
				n = len(rest)
			}
			return s.token(wordToken, n, rest[:n])
		default:
			n := max(utf8.RuneLen(r), 1)
			return s.token(markToken, n, rest[:n])
		}
	}
	return token{kind: endToken}
}

func (s *scanner) token(kind tokenKind, n int, text string) token {
	t := token{kind, text, s.line, s.column}
	s.skip(n)
	return t
}

// quoted reads a string; one that is not closed ends with its line.
func (s *scanner) quoted(quote byte) token {
	for i := s.at + 1; i < len(s.source); i++ {
		switch s.source[i] {
		case '\\':
			i++
		case '\n':
			return s.token(markToken, i-s.at, "")
		case quote:
			return s.token(stringToken, i+1-s.at, s.source[s.at+1:i])
		}
	}
	return s.token(markToken, len(s.source)-s.at, "")
}

// template skips a template literal.
func (s *scanner) template() {
	for i := s.at + 1; i < len(s.source); i++ {
		switch s.source[i] {
		case '\\':
			i++
		case '`':
			s.skip(i + 1 - s.at)
			return
		}
	}
	s.skip(len(s.source) - s.at)
}

// skip moves on by n bytes and keeps the position, in characters.
func (s *scanner) skip(n int) {
	end := min(s.at+n, len(s.source))
	for _, r := range s.source[s.at:end] {
		if r == '\n' {
			s.line, s.column = s.line+1, 0
		}
		s.column++
	}
	s.at = end
}

// until is the length of text up to and with end.
func until(text, end string) int {
	if i := strings.Index(text, end); i >= 0 {
		return i + len(end)
	}
	return len(text)
}
