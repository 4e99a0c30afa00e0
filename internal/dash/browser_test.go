package dash_test

import (
	"context"
	"flag"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var screenshots = flag.String("screenshots", "", "a directory to write pictures of the pages to")

// browser starts a headless Chromium with a profile of its own.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := os.Getenv("CHROMIUM")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path != "" {
			break
		}
		path, _ = exec.LookPath(name)
	}
	if path == "" {
		t.Skip("there is no Chromium on this machine: install it, or set CHROMIUM to its path, to test the pages in a browser")
	}
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.WindowSize(1280, 900), chromedp.WSURLReadTimeout(60 * time.Second),
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

// look runs an action that returns what is on the page.
func look[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestThePagesInABrowser(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewServer(w.handler(true))
	t.Cleanup(srv.Close)
	ctx := browser(t)

	// Whatever the browser complains of (a refused script or style, a missing
	// file) and every script that runs is a failure.
	var mu sync.Mutex
	var complaints []string
	complain := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		complaints = append(complaints, s)
	}
	// The first use of the context starts the browser.
	err := chromedp.Listen(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *log.EventEntryAdded:
			complain(string(ev.Entry.Source) + ": " + ev.Entry.Text + " " + ev.Entry.URL)
		case *runtime.EventExceptionThrown:
			complain("a script failed: " + ev.ExceptionDetails.Text)
		case *page.EventJavascriptDialogOpening:
			complain("a dialog: " + ev.Message)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	do := func(steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatal(err)
		}
	}
	shot := func(name string) {
		t.Helper()
		if *screenshots == "" {
			return
		}
		if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), look(t, ctx, chromedp.FullScreenshot(100)), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, log.Enable, cdp.Empty{})
		return err
	}), chromedp.Navigate(srv.URL+"/"))
	title := look(t, ctx, chromedp.Title())
	overview := look(t, ctx, chromedp.Text(chromedp.CSS("main")))
	shot("overview")

	do(chromedp.Click(`//a[.//h2[text()="GitHub"]]`), chromedp.WaitVisible(chromedp.ID("endpoints")))
	heading := look(t, ctx, chromedp.Text(chromedp.CSS("h1")))
	url := look(t, ctx, chromedp.Text(chromedp.ID("webhook-url")))
	endpoints := look(t, ctx, chromedp.Text(chromedp.ID("endpoints")))
	shot("integration")

	do(chromedp.Click(`//tr[contains(., "TypeError")]//a`), chromedp.WaitVisible(chromedp.CSS(".logs")))
	path := look(t, ctx, chromedp.Location())
	logs := look(t, ctx, chromedp.Text(chromedp.CSS(".logs")))
	shot("run")

	do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}})
		return err
	}), chromedp.Navigate(srv.URL+"/ui/integrations/github"))
	background := look(t, ctx, chromedp.Evaluate[string](`getComputedStyle(document.body).backgroundColor`))
	shot("integration-dark")

	do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile), chromedp.Navigate(srv.URL+"/ui/integrations/github"))
	wide := look(t, ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth`))
	shot("integration-phone")

	for what, c := range map[string][2]string{
		"the title":              {title, "Integrations · Syncline"},
		"the heading":            {heading, "GitHub"},
		"the webhook URL":        {url, "https://sync.example.com/webhook/11111111-2222-4333-8444-555555555555/github"},
		"the frequency":          {endpoints, "every 30s"},
		"the subscriptions":      {endpoints, "issue_comment"},
		"a stall's checkpoint":   {endpoints, `{"page":7}`},
		"a stall's reason":       {endpoints, "it ran longer than 30m"},
		"what clears a stall":    {endpoints, `syncline sync trigger "github" issues::eu -c CONNECTION`},
		"stalls on the overview": {overview, "github/issues::eu"},
		"a hostile subscription": {endpoints, hostile},
		"the run's path":         {path, "/ui/runs/" + w.runs[1]},
		"the logs":               {logs, "fetching acme/app, page 1"},
		"the dark background":    {background, "rgb(20, 23, 22)"},
	} {
		if !strings.Contains(c[0], c[1]) {
			t.Errorf("%s: %q lacks %q", what, c[0], c[1])
		}
	}
	if wide {
		t.Error("the page is wider than a phone")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(complaints) > 0 {
		t.Errorf("the browser complains: %s", strings.Join(complaints, "\n"))
	}
}
