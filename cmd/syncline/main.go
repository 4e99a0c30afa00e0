// Command syncline is the server and the tools to work with it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"syncline/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// Once the first signal has come, the next one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Main(ctx, os.Args[1:], cli.System()))
}
