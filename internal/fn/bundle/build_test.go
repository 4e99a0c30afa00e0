package bundle_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"syncline"
	"syncline/internal/fn/bundle"
)

// Each archive of testdata/wrong is a project with something to mend. Its
// member "problems" lists everything that is found, as a user sees it.
func TestProblemsNameThePlaceAndWhatToDo(t *testing.T) {
	t.Parallel()
	for _, file := range archives(t, "wrong") {
		a := load(t, file)
		t.Run(sentence(a), func(t *testing.T) {
			t.Parallel()
			dir := project(t, a, "problems")
			_, err := bundle.Build(t.Context(), bundle.Options{Dir: dir})
			problems := problemsOf(t, err)
			if len(problems) == 0 {
				t.Error("the project was built")
			}
			dir, err = filepath.EvalSymlinks(dir)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, file, a, "problems", listed(problems, dir))
		})
	}
}

// Each archive of testdata/good is a project that can be deployed. Its members
// "manifests" and "warnings" are what is found in it.
func TestGoodProjectsAreDescribed(t *testing.T) {
	t.Parallel()
	for _, file := range archives(t, "good") {
		a := load(t, file)
		t.Run(sentence(a), func(t *testing.T) {
			t.Parallel()
			p := build(t, project(t, a, "manifests", "warnings"))
			manifests := make([]syncline.Manifest, len(p.Functions))
			for i, f := range p.Functions {
				manifests[i] = f.Manifest
			}
			text, err := json.MarshalIndent(manifests, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			expect(t, file, a, "manifests", string(text)+"\n")
			expect(t, file, a, "warnings", listed(p.Warnings, ""))
		})
	}
}

// build builds a project that has nothing wrong with it.
func build(t *testing.T, dir string) *bundle.Project {
	t.Helper()
	p, err := bundle.Build(t.Context(), bundle.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
