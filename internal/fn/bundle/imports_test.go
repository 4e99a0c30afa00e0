package bundle

import (
	"fmt"
	"testing"
)

func TestImportsAreReadAsJavaScriptReadsThem(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		``:                                                              ``,
		`import './a.js';`:                                              `[./a.js 1:8]`,
		`import"./a.js";import "./b.js"`:                                `[./a.js 1:7][./b.js 1:23]`,
		"import\n  './a.js'":                                            `[./a.js 2:3]`,
		"\ufeffimport './a.js'":                                         `[./a.js 1:9]`,
		"import './a.js'\r\nimport './b.js'":                            `[./a.js 1:8][./b.js 2:8]`,
		`import a from './a.js'`:                                        `[./a.js 1:15]`,
		`import * as a from './a.js'`:                                   `[./a.js 1:20]`,
		`import a, { b as from } from './a.js'`:                         `[./a.js 1:30]`,
		"import {\n  a, // it's\n  b,\n} from './a.js'":                 `[./a.js 4:8]`,
		`import from from './a.js'`:                                     `[./a.js 1:18]`,
		`export * from './a.js'; export { b } from './b.js'`:            `[./a.js 1:15][./b.js 1:43]`,
		`export { b }; import './b.js'`:                                 `[./b.js 1:22]`,
		`export const a = 1; import './b.js'`:                           `[./b.js 1:28]`,
		`export default x; import './b.js'`:                             `[./b.js 1:26]`,
		`import type { A } from './a.js'; export type { B } from './b'`: ``,
		`export type A = { from: './a.js' }`:                            ``,
		`// import './a.js'`:                                            ``,
		"/* import './a.js' */ import './b.js' // import './c.js'":      `[./b.js 1:30]`,
		"`import './a.js' ${x}`; import './b.js'":                       `[./b.js 1:32]`,
		`const s = "import './a.js'"; x.import('./b.js')`:               ``,
		`await import('./a.js'); import.meta.url`:                       ``,
		`import './a.js`:                                                ``,
		"import './a.js\nimport './b.js'":                               `[./b.js 2:8]`,
		`import { a`:                                                    ``,
		`import { a } './b.js'`:                                         ``,
		`import * as from`:                                              ``,
		"/*":                                                            ``,
		"`":                                                             ``,
	} {
		got := ""
		for _, m := range imports(source) {
			got += fmt.Sprintf("[%s %d:%d]", m.path, m.line, m.column)
		}
		if got != want {
			t.Errorf("%q imports %s, want %s", source, got, want)
		}
	}
}

func FuzzImports(f *testing.F) {
	f.Add(`import a, { b } from './a.js'; export * from "./b"`)
	f.Add("/* ` */ import './a.js")
	f.Add("export type { x } from from import")
	f.Fuzz(func(_ *testing.T, source string) { imports(source) }) // it ends, and does not panic
}
