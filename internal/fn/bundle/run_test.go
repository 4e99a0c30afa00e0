package bundle_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/bundle"
	"syncline/internal/fn/quickjs"
)

var issues = parse(`
-- index.ts --
import './github/syncs/issues.js';
import './github/syncs/labels.js';
-- shared/map.ts --
// The line and column of what is thrown here are looked for below.
export interface Api { id: number; title?: string }

export function toIssue(api: Api) {
    if (api.title === undefined) {
        throw new TypeError('no title in ' + api.id);
    }
    return { id: String(api.id), title: api.title };
}
-- github/syncs/issues.ts --
import { createSync } from 'nango';
import * as z from 'zod';
import { toIssue, type Api } from '../../shared/map.js';

const Issue = z.object({ id: z.string(), title: z.string().min(1) });
const Input = z.object({ pages: z.array(z.array(z.object({ id: z.number(), title: z.string().optional() }))) });

export default createSync({
    description: 'Issues',
    frequency: 'every hour',
    models: { Issue },
    webhookSubscriptions: ['*'],
    exec: async (nango) => {
        const checkpoint = await nango.getCheckpoint();
        return checkpoint;
    },
    onWebhook: async (nango, payload) => {
        const { pages } = Input.parse(payload);
        for (const page of pages) {
            await nango.batchSave(page.map((api: Api) => toIssue(api)), 'Issue');
        }
        return Issue.safeParse({ id: 1 }).error?.issues.map((issue) => issue.message);
    },
});
-- github/syncs/labels.ts --
import { createSync, ActionError } from 'syncline';
import { z } from 'zod';

export default createSync({
    frequency: 'every hour',
    models: { Label: z.object({ id: z.string() }) },
    exec: async () => {
        throw new ActionError({ message: 'no labels', code: 7 });
    },
});
`)

// host keeps the host calls that a function makes.
type host struct{ calls []string }

func (h *host) Call(_ context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	h.calls = append(h.calls, method+" "+string(args))
	if method == fn.MethodGetCheckpoint {
		return json.RawMessage(`{"since":"2026-01-01"}`), nil
	}
	return json.RawMessage(`true`), nil
}

func (*host) Log(syncline.LogLine) {}

func TestBundlesRun(t *testing.T) {
	t.Parallel()
	p := build(t, project(t, issues))
	engine := quickjs.New(quickjs.Options{})
	defer engine.Close()
	for _, c := range []struct {
		name, function string
		entry          fn.Entry
		input          string
		want           string   // what is returned
		calls          []string // of the host
		wrong          *fn.ScriptError
	}{
		{
			name: "exec asks the host", function: "issues", entry: fn.EntryExec,
			want: `{"since":"2026-01-01"}`, calls: []string{`getCheckpoint {}`},
		},
		{
			name: "onWebhook reads its payload with zod, whose messages are English", function: "issues", entry: fn.EntryOnWebhook,
			input: `{"pages":[[{"id":1,"title":"One"}],[{"id":2,"title":"Two"}]]}`,
			want:  `["Invalid input: expected string, received number","Invalid input: expected string, received undefined"]`,
			calls: []string{
				`batchSave {"model":"Issue","records":[{"id":"1","title":"One"}]}`,
				`batchSave {"model":"Issue","records":[{"id":"2","title":"Two"}]}`,
			},
		},
		{
			name: "an error names the user's files and lines", function: "issues", entry: fn.EntryOnWebhook, input: `{"pages":[[{"id":1}]]}`,
			wrong: &fn.ScriptError{
				Name: "TypeError", Message: "no title in 1",
				Stack: "at toIssue (shared/map.ts:6:19)\nat <anonymous> (github/syncs/issues.ts:20:58)\nat onWebhook (github/syncs/issues.ts:20:40)",
			},
		},
		{
			name: "the module is also called syncline", function: "labels", entry: fn.EntryExec,
			wrong: &fn.ScriptError{
				Name: "ActionError", Message: "no labels", Payload: json.RawMessage(`{"message":"no labels","code":7}`),
				Stack: "at exec (github/syncs/labels.ts:8:19)",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := function(t, p, c.function)
			h := &host{}
			out, err := engine.Run(t.Context(), fn.Call{
				Entry: c.entry, BundleHash: f.Hash, Bundle: func(context.Context) ([]byte, error) { return f.Source, nil },
				Library: func(_ context.Context, hash string) ([]byte, error) { return p.Libraries[hash], nil },
				Input:   json.RawMessage(c.input), Limits: fn.Limits{Wall: time.Minute},
			}, h)
			if c.wrong != nil {
				wrong, ok := errors.AsType[*fn.ScriptError](err)
				if !ok {
					t.Fatalf("the error is %v", err)
				}
				if d := cmp.Diff(c.wrong, wrong); d != "" {
					t.Errorf("the error differs (-want +got):\n%s", d)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(out) != c.want {
				t.Errorf("it returned %s, want %s", out, c.want)
			}
			if d := cmp.Diff(c.calls, h.calls); d != "" {
				t.Errorf("the host calls differ (-want +got):\n%s", d)
			}
		})
	}
}

func TestABundleIsTheSameWhereverItIsMade(t *testing.T) {
	t.Parallel()
	slow(t)
	modules := nodeModules(t)
	linked := project(t, issues)
	deep := filepath.Join(t.TempDir(), "some", "where", "else")
	for _, f := range issues.Files {
		write(t, deep, f.Name, f.Data)
	}
	copyTree(t, modules, filepath.Join(deep, "node_modules"))
	above := t.TempDir()
	copyTree(t, modules, filepath.Join(above, "node_modules"))
	for _, f := range issues.Files {
		write(t, above, "apps/sync/"+f.Name, f.Data)
	}
	first := build(t, linked)
	for _, dir := range []string{linked, deep, filepath.Join(above, "apps", "sync")} {
		again := build(t, dir)
		for i, f := range again.Functions {
			if d := cmp.Diff(string(first.Functions[i].Source), string(f.Source)); d != "" {
				t.Fatalf("%s is not the same in %s (-first +now):\n%s", f.Manifest.Name, dir, d)
			}
			if f.Hash != first.Functions[i].Hash {
				t.Errorf("the hash of %s is not the same in %s", f.Manifest.Name, dir)
			}
			for _, path := range []string{dir, packages, filepath.Base(packages), os.TempDir()} {
				if bytes.Contains(f.Source, []byte(path)) {
					t.Errorf("%s has the path %s in it", f.Manifest.Name, path)
				}
			}
		}
	}
}

func TestAPackageHasTheSameNameWhereverItIsInstalled(t *testing.T) {
	t.Parallel()
	files := parse(`
-- index.ts --
import './github/actions/pad.js';
-- github/actions/pad.ts --
import { createAction } from 'nango';
import left from 'left';
export default createAction({ exec: async () => left('a') });
`)
	module := []byte("module.exports = (text) => ' ' + text;\n")
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"inside", "linked"} {
		for _, f := range files.Files {
			write(t, filepath.Join(root, dir), f.Name, f.Data)
		}
	}
	write(t, root, "inside/node_modules/left/index.js", module)
	write(t, root, "store/left-1.0.0/node_modules/left/index.js", module)
	write(t, root, "linked/node_modules/other/index.js", nil)
	if err := os.Symlink("../../store/left-1.0.0/node_modules/left", filepath.Join(root, "linked", "node_modules", "left")); err != nil {
		t.Fatal(err)
	}
	inside := string(build(t, filepath.Join(root, "inside")).Functions[0].Source)
	linked := string(build(t, filepath.Join(root, "linked")).Functions[0].Source)
	if d := cmp.Diff(inside, linked); d != "" {
		t.Errorf("the bundles differ (-inside +linked):\n%s", d)
	}
	if want := `"node_modules/left/index.js"(exports, module) {`; !strings.Contains(linked, want) {
		t.Errorf("%s is not in the bundle:\n%s", want, linked)
	}
}

func TestABundleDoesNotDependOnTheOtherFunctions(t *testing.T) {
	t.Parallel()
	slow(t)
	all := build(t, project(t, issues))
	only := &txtar.Archive{Files: append([]txtar.File{{Name: "index.ts", Data: []byte("import './github/syncs/labels.js';\n")}}, issues.Files[1:]...)}
	one := build(t, project(t, only))
	if function(t, all, "labels").Hash != function(t, one, "labels").Hash {
		t.Error("the bundle is another one when there are other functions")
	}
}

func TestZodIsSharedWhereItIsTheProjects(t *testing.T) {
	t.Parallel()
	slow(t)
	dir := project(t, parse(`
-- index.ts --
import './github/syncs/issues.js';
import './github/actions/plain.js';
import './github/actions/schemas.js';
import './github/actions/checked.js';
-- github/syncs/issues.ts --
import { createSync } from 'nango';
import * as z from 'zod';
const Issue = z.object({ id: z.string() });
export default createSync({ frequency: 'every hour', models: { Issue }, exec: async () => Issue.parse({ id: '1' }) });
-- github/actions/plain.ts --
import { createAction } from 'nango';
export default createAction({ exec: async () => 'zod' });
-- github/actions/schemas.ts --
import { createAction } from 'nango';
import { z } from 'zod';
export default createAction({ input: z.object({ a: z.string() }), exec: async () => z.toJSONSchema(z.string()) });
-- github/actions/checked.ts --
import { createAction } from 'nango';
import { check } from 'checker';
export default createAction({ exec: async () => check('a') });
`))
	write(t, dir, "node_modules/checker/package.json", []byte(`{"name":"checker","main":"index.js"}`))
	write(t, dir, "node_modules/checker/index.js", []byte("const z = require('zod');\nexports.check = (v) => z.string().parse(v);\n"))
	write(t, dir, "node_modules/checker/node_modules/zod/index.js", []byte("exports.string = () => ({ parse: (v) => 'its own zod: ' + v });\n"))
	p := build(t, dir)
	if len(p.Libraries) != 1 {
		t.Fatalf("there are %d libraries", len(p.Libraries))
	}
	issues, plain, checked := function(t, p, "issues"), function(t, p, "plain"), function(t, p, "checked")
	library := p.Libraries[issues.Library]
	if sum := fmt.Sprintf("%x", sha256.Sum256(library)); sum != issues.Library {
		t.Errorf("the library %s has the hash %s", issues.Library, sum)
	}
	if hash, ok := fn.Library(issues.Source); !ok || hash != issues.Library || len(issues.Source) > 4<<10 {
		t.Errorf("the sync continues %q and has %d bytes", hash, len(issues.Source))
	}
	schemas := function(t, p, "schemas")
	if !strings.Contains(string(schemas.Source), "function toJSONSchema(") {
		t.Error("what makes JSON Schemas does not hold a zod that does")
	}
	for _, f := range []*bundle.Function{plain, schemas, checked} {
		if _, ok := fn.Library(f.Source); ok || f.Library != "" {
			t.Errorf("%s continues a library that it does not use", f.Manifest.Name)
		}
	}
	if !strings.Contains(string(checked.Source), "its own zod") {
		t.Error("a package did not keep its own zod")
	}
	if len(library) > 224<<10 {
		t.Errorf("the library has %d bytes", len(library))
	}
	for _, part := range []string{"locales/de.js", "node_modules/zod/v3", dir} {
		if strings.Contains(string(library), part) {
			t.Errorf("%q is in the library", part)
		}
	}
}

func TestABuilderSeesWhatChanges(t *testing.T) {
	t.Parallel()
	slow(t)
	dir := project(t, issues)
	b, err := bundle.NewBuilder(bundle.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	first, err := b.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range first.Functions {
		if first.Functions[i].Hash != again.Functions[i].Hash {
			t.Errorf("%s changed", first.Functions[i].Manifest.Name)
		}
	}
	write(t, dir, "github/syncs/labels.ts", []byte("import { createSync } from 'nango';\nexport default createSync({ frequency: 'never' });\n"))
	if _, err := b.Build(t.Context()); err == nil {
		t.Error("a wrong function is built")
	}
	for _, f := range issues.Files {
		if f.Name == "github/syncs/labels.ts" {
			write(t, dir, f.Name, f.Data)
		}
	}
	mended, err := b.Build(t.Context())
	if err != nil || len(mended.Functions) != len(first.Functions) {
		t.Errorf("once it is mended: %v", err)
	}
}

func TestBuildStopsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bundle.Build(ctx, bundle.Options{Dir: project(t, issues)}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestAFolderThatIsNotThereIsNamed(t *testing.T) {
	t.Parallel()
	_, err := bundle.Build(t.Context(), bundle.Options{Dir: filepath.Join(t.TempDir(), "gone")})
	if syncline.CodeOf(err) != syncline.CodeInvalid || !strings.Contains(err.Error(), "gone") {
		t.Errorf("the error is %v", err)
	}
}

func function(t *testing.T, p *bundle.Project, name string) *bundle.Function {
	t.Helper()
	for i := range p.Functions {
		if p.Functions[i].Manifest.Name == name {
			return &p.Functions[i]
		}
	}
	t.Fatalf("there is no function %s", name)
	return nil
}

func TestTheCacheKeepsWhatDidNotChange(t *testing.T) {
	t.Parallel()
	slow(t)
	dir := project(t, issues)
	long := time.Now().Add(-time.Hour)
	age := func(at time.Time) {
		t.Helper()
		for _, f := range issues.Files {
			if err := os.Chtimes(filepath.Join(dir, filepath.FromSlash(f.Name)), at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	hashes := func() map[string]string {
		t.Helper()
		p, err := bundle.Build(t.Context(), bundle.Options{Dir: dir, Cache: true})
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for _, f := range p.Functions {
			all[f.Manifest.Name] = f.Hash
			if len(f.Source) == 0 {
				t.Errorf("%s has no source", f.Manifest.Name)
			}
		}
		return all
	}
	var shared txtar.File
	for _, f := range issues.Files {
		if f.Name == "shared/map.ts" {
			shared = f
		}
	}
	if shared.Name == "" {
		t.Fatal("no shared file")
	}
	edit := func(with string) { write(t, dir, shared.Name, []byte(with)) }
	modules, err := os.Readlink(filepath.Join(dir, "node_modules"))
	if err == nil { // the tests share it: this project gets a folder of its own
		if err := os.Remove(filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "node_modules"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(modules, "zod"), filepath.Join(dir, "node_modules", "zod")); err != nil {
			t.Fatal(err)
		}
	}

	fresh := hashes() // the files are too young to be kept
	age(long)
	if d := cmp.Diff(fresh, hashes()); d != "" {
		t.Error(d)
	}
	// A file with the size and the time that it had is not read again.
	changed := strings.Replace(string(shared.Data), "no title", "no tItle", 1)
	if changed == string(shared.Data) {
		t.Fatal("the shared file has no title")
	}
	edit(changed)
	age(long)
	if d := cmp.Diff(fresh, hashes()); d != "" {
		t.Errorf("what did not change is bundled anew:\n%s", d)
	}
	age(long.Add(time.Second))
	if after := hashes(); after["issues"] == fresh["issues"] || after["labels"] != fresh["labels"] {
		t.Errorf("after a change of what the issues import: %v, before it %v", after, fresh)
	}
	// A cache that is damaged is none.
	file := filepath.Join(dir, "node_modules", ".cache", "syncline", "functions")
	if info, err := os.Stat(file); err != nil || info.Size() == 0 {
		t.Fatalf("there is no cache: %v", err)
	}
	if err := os.WriteFile(file, []byte("not a cache"), 0o600); err != nil {
		t.Fatal(err)
	}
	edit(string(shared.Data))
	if d := cmp.Diff(fresh, hashes()); d != "" {
		t.Error(d)
	}
}
