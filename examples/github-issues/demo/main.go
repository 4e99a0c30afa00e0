// The demo tells on the terminal what Syncline is for: it runs the built binary
// against a local stand-in for GitHub, and checks every line that it tells. A
// line that is not true ends it with an error.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"syncline/e2e/harness"
	"syncline/internal/standin/github"
)

func main() {
	once := flag.Bool("once", os.Getenv("ONCE") == "1", "end after the story instead of going on until Ctrl-C")
	binary := flag.String("binary", "bin/syncline", "the syncline binary (make build)")
	project := flag.String("project", "examples/github-issues", "the project to deploy")
	payloads := flag.String("payloads", "internal/standin/github", "where npm ci put GitHub's example payloads")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *binary, *project, *payloads, *once); err != nil {
		fmt.Fprintln(os.Stderr, "\nThe demo failed:", err)
		os.Exit(1)
	}
}

const (
	owner, name   = "acme", "rockets"
	integration   = "github"
	connection    = "acme"
	model         = "GithubIssue"
	webhookSecret = "the secret that only GitHub and Syncline know"
	token         = "gho_demo"
)

func run(ctx context.Context, binary, project, payloads string, once bool) error {
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("there is no %s; run: make build", binary)
	}
	if _, err := os.Stat(project + "/node_modules/zod"); err != nil {
		return fmt.Errorf("the example's packages are not installed; run: npm ci --omit=dev --prefix %s", project)
	}
	examples, err := github.LoadPayloads(payloads)
	if err != nil {
		return err
	}
	standin := github.New(github.Options{Owner: owner, Name: name, Token: token, Secret: webhookSecret, Payloads: examples})
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	api := &http.Server{Handler: standin}
	go func() { _ = api.Serve(l) }()
	defer api.Close()

	app, err := harness.StartApp()
	if err != nil {
		return err
	}
	defer app.Close()

	dir, err := os.MkdirTemp("", "syncline-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := harness.NewServer(binary, dir)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
		defer cancel()
		_ = server.Stop(ctx)
	}()
	s := &story{
		teller: newTeller(os.Stdout), server: server, client: server.Client(), app: app, github: standin,
		githubURL: "http://" + l.Addr().String(), project: project, http: &http.Client{Timeout: 10 * time.Second},
	}
	if err := s.tell(ctx); err != nil {
		return err
	}
	if once {
		return nil
	}
	return s.goOn(ctx)
}
