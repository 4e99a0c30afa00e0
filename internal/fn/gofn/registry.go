package gofn

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"

	"syncline"
	"syncline/internal/fn"
)

// Handler is one entry of a function. What it returns becomes JSON.
type Handler func(ctx context.Context, s *Session) (any, error)

// Function is a function that is compiled in.
type Function struct {
	Manifest syncline.Manifest
	Handlers map[fn.Entry]Handler
	// Describe says what of an error that a handler returned, or panicked with, the
	// run should show and the dispatcher should know. nil: its text alone.
	Describe func(err error) *fn.ScriptError
}

// Version is a function as this build has it.
type Version struct {
	Manifest syncline.Manifest
	// Bundle is what is stored where functions in JavaScript have their source:
	// what the version is made of, as JSON.
	Bundle []byte
	Hash   string // hex SHA-256 of Bundle
}

// Origin is the content of a [Version]'s bundle.
type Origin struct {
	Engine   syncline.Engine   `json:"engine"`
	Build    string            `json:"build"`
	Manifest syncline.Manifest `json:"manifest"`
}

// ParseOrigin reads the bundle of a deployed version; false when it is not one
// of a Go function.
func ParseOrigin(bundle []byte) (Origin, bool) {
	var o Origin
	err := json.Unmarshal(bundle, &o)
	return o, err == nil && o.Engine == syncline.EngineGo
}

// Registry is the functions of one process. A nil one has none.
type Registry struct {
	// Build names the code: processes with the same Build hold the same functions.
	Build    string
	versions []Version
	byHash   map[string]*entry
}

type entry struct {
	Function
	mu        sync.Mutex
	abandoned int // calls that are over and still run
}

// NewRegistry makes a registry of the functions of a build. Two functions of the
// same integration, type and name are refused.
func NewRegistry(build string, functions []Function) (*Registry, error) {
	r := &Registry{Build: build, byHash: map[string]*entry{}}
	seen := map[string]bool{}
	for _, f := range functions {
		f.Manifest.Engine = syncline.EngineGo
		key := fmt.Sprintf("%s %q of the integration %q", f.Manifest.Type, f.Manifest.Name, f.Manifest.Integration)
		if seen[key] {
			return nil, syncline.Errorf(syncline.CodeInvalid, "the %s is compiled in twice", key)
		}
		seen[key] = true
		bundle, err := json.Marshal(Origin{syncline.EngineGo, build, f.Manifest})
		if err != nil {
			return nil, syncline.Errorf(syncline.CodeInvalid, "the manifest of the %s: %w", key, err)
		}
		sum := sha256.Sum256(bundle)
		v := Version{Manifest: f.Manifest, Bundle: bundle, Hash: hex.EncodeToString(sum[:])}
		r.versions = append(r.versions, v)
		r.byHash[v.Hash] = &entry{Function: f}
	}
	return r, nil
}

// Versions lists the functions, in the order in which they were given.
func (r *Registry) Versions() []Version {
	if r == nil {
		return nil
	}
	return r.versions
}

// Has reports whether this process can run a version: it is one of JavaScript,
// or one of its own.
func (r *Registry) Has(v *syncline.FunctionVersion) bool {
	if v.Manifest.Engine != syncline.EngineGo {
		return true
	}
	return r.find(v.BundleHash) != nil
}

// Compiled reports whether a function is compiled in, in whatever version.
func (r *Registry) Compiled(kind syncline.FunctionType, integration, name string) bool {
	for _, v := range r.Versions() {
		if v.Manifest.Type == kind && v.Manifest.Integration == integration && v.Manifest.Name == name {
			return true
		}
	}
	return false
}

func (r *Registry) find(hash string) *entry {
	if r == nil {
		return nil
	}
	return r.byHash[hash]
}
