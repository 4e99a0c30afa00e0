// Package bundle makes deployable functions of a project folder: it finds the
// functions that index.ts imports, bundles each into one file with esbuild,
// reads what each says of itself by evaluating it once, and checks that. It
// does not check types (the project's own TypeScript does) and knows nothing of
// servers.
package bundle
