// Package app makes a Syncline binary with functions in Go of your own: the
// whole command line (serve, deploy, runs …), whose server has them compiled in.
//
//	package main
//
//	import (
//		"syncline/app"
//		"syncline/sdk"
//	)
//
//	func main() {
//		app.Main(sdk.Functions{issues, closeIssue})
//	}
//
// When "serve" starts, it deploys the functions to its environments, to the
// integrations with their unique keys. Functions in TypeScript are deployed and
// run as ever beside them.
package app

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"syncline/internal/cli"
	"syncline/internal/node"
	"syncline/sdk"
)

// Option is a choice of [Main].
type Option func(*node.Compiled)

// Build names the code that the binary is made of, such as a version or a commit.
// Processes of one deployment that have the same are believed to hold the same
// functions; it must change when a function does. Without it, it is the hash of
// the executable, which is always right, but differs between platforms.
func Build(name string) Option { return func(c *node.Compiled) { c.Build = name } }

// Main runs the command line with functions compiled in, and ends the process.
func Main(functions sdk.Functions, options ...Option) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// Once the first signal has come, the next one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], cli.System(), functions, options...))
}

// run returns the exit code.
func run(ctx context.Context, args []string, s cli.Streams, functions sdk.Functions, options ...Option) int {
	compiled, err := functions.Compile()
	if err != nil {
		return cli.Fail(s, err)
	}
	c := node.Compiled{Functions: compiled}
	for _, o := range options {
		o(&c)
	}
	return cli.Main(ctx, args, s, node.WithFunctions(c))
}
