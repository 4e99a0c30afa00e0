package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"syncline"
)

// maxDocDepth is how deep a document may be nested.
const maxDocDepth = 500

// Schema is a compiled schema. It may be used concurrently.
type Schema struct {
	source    map[string]any // with every limit checked; not changed any more
	formats   map[string]format
	unchecked []string

	mu   sync.Mutex
	idle []*instance
}

// instance is one compiled copy: it has a meter that one check uses at a time.
type instance struct {
	schema *jsonschema.Schema
	meter  *meter
}

// Validate checks a document. The error is a [*syncline.Error] with
// [syncline.CodeInvalid] whose message names, for the first ten problems, the
// path, what is expected and what is there.
func (s *Schema) Validate(doc json.RawMessage) error {
	v, err := read(doc)
	if err != nil {
		return err
	}
	problems, err := s.check(v)
	if err != nil {
		return err
	}
	return asError(problems)
}

// Unchecked lists the patterns (by path in the schema) that cannot be checked,
// because they use what no engine here can express.
func (s *Schema) Unchecked() []string { return s.unchecked }

// check returns the problems of a document.
func (s *Schema) check(v any) (problems []problem, err error) {
	i, err := s.take()
	if err != nil {
		return nil, err
	}
	defer s.put(i)
	i.meter.begin()
	defer func() {
		// The library calls us back without a way to stop it but this.
		switch r := recover().(type) {
		case nil:
		case tooMuch:
			err = syncline.Errorf(syncline.CodeLimit, "the check against the schema was ended: %s", string(r)).
				WithHint("unions within arrays or recursive objects multiply the work; make the schema simpler")
		default:
			panic(r)
		}
	}()
	err = i.schema.Validate(v)
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return nil, err
	}
	return s.problems(v, invalid), nil
}

func (s *Schema) take() (*instance, error) {
	s.mu.Lock()
	if n := len(s.idle); n > 0 {
		i := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		return i, nil
	}
	s.mu.Unlock()
	return s.compile()
}

func (s *Schema) put(i *instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) < runtime.GOMAXPROCS(0) {
		s.idle = append(s.idle, i)
	}
}

// location is the schema's own name; it leads nowhere.
const location = "syncline:///schema"

// nowhere refuses every reference to another document.
type nowhere struct{}

func (nowhere) Load(url string) (any, error) {
	return nil, fmt.Errorf("the schema refers to %s; only references within the schema are followed", url)
}

func (s *Schema) compile() (*instance, error) {
	m := &meter{}
	c := jsonschema.NewCompiler()
	c.UseLoader(nowhere{})
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseRegexpEngine(compileRegexp)
	c.AssertFormat()
	for name, f := range s.formats {
		c.RegisterFormat(m.format(name, f))
	}
	if err := c.AddResource(location, s.source); err != nil {
		return nil, refused("%s", err)
	}
	compiled, err := c.Compile(location)
	if err != nil {
		return nil, refused("%s", plain(err))
	}
	return &instance{schema: compiled, meter: m}, nil
}

// plain says what is wrong with a schema without the library's own lines.
func plain(err error) string {
	var invalid *jsonschema.SchemaValidationError
	if !errors.As(err, &invalid) {
		return err.Error()
	}
	var v *jsonschema.ValidationError
	if !errors.As(invalid.Err, &v) {
		return err.Error()
	}
	for len(v.Causes) > 0 {
		v = v.Causes[0]
	}
	return fmt.Sprintf("%s is not what a schema may hold there", pathOf(nil, v.InstanceLocation))
}

func refused(format string, args ...any) error {
	return syncline.Errorf(syncline.CodeInvalid, "the JSON Schema cannot be used: %s", fmt.Sprintf(format, args...))
}

// read parses a document. Numbers are what JavaScript makes of them.
func read(doc json.RawMessage) (any, error) {
	if len(bytes.TrimSpace(doc)) == 0 {
		return nil, syncline.Errorf(syncline.CodeInvalid, "$: expected a JSON value, found nothing")
	}
	if depth(doc) > maxDocDepth {
		return nil, syncline.Errorf(syncline.CodeInvalid, "the value is nested deeper than %d levels; it cannot be checked", maxDocDepth)
	}
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "the value is not JSON that can be checked: %w", err)
	}
	return v, nil
}

// depth is how deep brackets are nested, strings left out.
func depth(doc []byte) int {
	deepest, now := 0, 0
	for i := 0; i < len(doc); i++ {
		switch doc[i] {
		case '"':
			for i++; i < len(doc) && doc[i] != '"'; i++ {
				if doc[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			now++
			deepest = max(deepest, now)
		case '}', ']':
			now--
		}
	}
	return deepest
}
