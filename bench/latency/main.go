// Latency measures, against the built binary and over HTTP only, how long it
// takes from a webhook's POST to its record being readable by GET /records: at
// a steady rate, once over one lane and once over many. It also measures the
// time from start to ready.
//
//	make build packages && go run ./bench/latency
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"syncline/e2e/harness"
	"syncline/internal/standin/github"
)

func main() {
	binary := flag.String("binary", "bin/syncline", "the syncline binary")
	count := flag.Int("count", 1000, "webhooks in each round")
	rate := flag.Int("rate", 200, "webhooks a second")
	many := flag.Int("lanes", 50, "lanes of the second round")
	flag.Parse()
	fmt.Printf("%d webhooks at %d/s, from POST to readable by GET /records\n\n", *count, *rate)
	fmt.Printf("%8s %12s %12s %12s %12s %12s %14s\n", "lanes", "ack p50", "ack p99", "p50", "p99", "max", "start→ready")
	for _, lanes := range []int{1, *many} {
		if err := measure(context.Background(), *binary, lanes, *count, *rate); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

const (
	integration = "github"
	secret      = "s3cret"
	model       = "GithubIssue"
)

func measure(ctx context.Context, binary string, lanes, count, rate int) error {
	payloads, err := github.LoadPayloads("internal/standin/github")
	if err != nil {
		return err
	}
	standin := github.New(github.Options{Owner: "acme", Name: "rockets", Secret: secret, Payloads: payloads})
	upstream := httptest.NewServer(standin)
	defer upstream.Close()
	dir, err := os.MkdirTemp("", "syncline-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := harness.NewServer(binary, dir)
	if err != nil {
		return err
	}
	ready, err := server.Start(ctx)
	if err != nil {
		return err
	}
	defer server.Kill()
	client := server.Client()
	setup := harness.Setup{Integration: integration, ProxyBaseURL: upstream.URL, Secret: secret, Token: "t", Repository: "acme/rockets", Connection: "c0"}
	if err := client.Prepare(ctx, setup); err != nil {
		return err
	}
	for n := 1; n < lanes; n++ {
		setup.Connection = fmt.Sprintf("c%d", n)
		if err := client.Connect(ctx, setup); err != nil {
			return err
		}
	}
	if _, err := server.Deploy(ctx, "examples/github-issues"); err != nil {
		return err
	}
	url, err := client.WebhookURL(ctx, integration)
	if err != nil {
		return err
	}
	// Warm up: each lane has its first poll behind it and has run its handler once.
	for n := range lanes {
		if _, _, err := one(ctx, client, standin, url, fmt.Sprintf("c%d", n)); err != nil {
			return err
		}
	}
	acks, reads := make([]time.Duration, count), make([]time.Duration, count)
	var failed error
	var mu sync.Mutex
	var all sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for i := range count {
		<-tick.C
		all.Go(func() {
			ack, read, err := one(ctx, client, standin, url, fmt.Sprintf("c%d", i%lanes))
			mu.Lock()
			defer mu.Unlock()
			acks[i], reads[i] = ack, read
			if err != nil {
				failed = err
			}
		})
	}
	all.Wait()
	if failed != nil {
		return failed
	}
	slices.Sort(acks)
	slices.Sort(reads)
	at := func(d []time.Duration, p float64) string {
		return strconv.FormatFloat(float64(d[int(float64(len(d)-1)*p)].Microseconds())/1000, 'f', 1, 64) + " ms"
	}
	fmt.Printf("%8d %12s %12s %12s %12s %12s %11d ms\n", lanes, at(acks, 0.5), at(acks, 0.99), at(reads, 0.5), at(reads, 0.99), at(reads, 1), ready.Milliseconds())
	return nil
}

// one sends a webhook of a new issue and waits until its record can be read.
func one(ctx context.Context, client *harness.Client, standin *github.Server, url, connection string) (ack, read time.Duration, err error) {
	e := standin.Create("A new issue")
	began := time.Now()
	a, err := e.Send(ctx, client.HTTP, url+"/"+connection)
	if err != nil {
		return 0, 0, err
	}
	if a.Status != http.StatusOK {
		return 0, 0, fmt.Errorf("the webhook got %d: %s", a.Status, a.Body)
	}
	ack = time.Since(began)
	path := "/records?model=" + model + "&ids=" + strconv.FormatInt(e.Issue.ID, 10)
	header := map[string]string{"Provider-Config-Key": integration, "Connection-Id": connection}
	for deadline := began.Add(20 * time.Second); time.Now().Before(deadline); {
		var page struct{ Records []struct{} }
		if err := client.Do(ctx, http.MethodGet, path, header, nil, &page); err != nil {
			return 0, 0, err
		}
		if len(page.Records) == 1 {
			return ack, time.Since(began), nil
		}
		time.Sleep(500 * time.Microsecond)
	}
	return 0, 0, fmt.Errorf("the record of issue %d cannot be read", e.Issue.Number)
}
