// Package quickjs is the engine that needs nothing installed: it executes
// function bundles in QuickJS contexts (modernc.org/quickjs), with the host
// module and the globals of modern Node that pure functions use. It owns
// contexts, their limits and their event loops. It does not know what a host
// call does, nor that it runs in a worker process.
package quickjs
