package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"syncline/e2e/harness"
	"syncline/internal/standin/github"
)

// story is the demo's cast.
type story struct {
	*teller
	server    *harness.Server
	client    *harness.Client
	app       *harness.App
	github    *github.Server
	githubURL string
	project   string
	http      *http.Client
	webhook   string // where webhooks go
}

// deadline bounds each step: a step that takes longer is not true.
const deadline = 15 * time.Second

func (s *story) tell(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		s.setUp, s.firstPoll, s.webhooks, s.forged, s.redelivered, s.slowPoll, s.lost, s.deletion, s.told,
	} {
		ctx, cancel := context.WithTimeout(ctx, deadline)
		err := step(ctx)
		cancel()
		if err != nil {
			return err
		}
	}
	s.heading("That is the whole story, and every line of it was checked.")
	return nil
}

func (s *story) setUp(ctx context.Context) error {
	s.heading("One binary, one directory. A stand-in plays GitHub, a small server plays your app.")
	took, err := s.server.Start(ctx)
	if err != nil {
		return err
	}
	s.line("the server is ready", took, "")
	began := time.Now()
	if err := s.client.Prepare(ctx, harness.Setup{
		Integration: integration, ProxyBaseURL: s.githubURL, Secret: webhookSecret, Token: token, Repository: owner + "/" + name,
		Connection: connection, WebhookURL: s.app.URL,
	}); err != nil {
		return err
	}
	key, err := s.client.SigningKey(ctx)
	if err != nil {
		return err
	}
	s.app.SetKey(key)
	if s.webhook, err = s.client.WebhookURL(ctx, integration); err != nil {
		return err
	}
	s.line("by API: an integration, a connection with its token, your app's webhook URL", time.Since(began), "")
	for n := range 120 {
		s.github.Create(fmt.Sprintf("Issue number %d", n+1))
	}
	return nil
}

func (s *story) firstPoll(ctx context.Context) error {
	s.heading("Polling")
	began := time.Now()
	if _, err := s.server.Deploy(ctx, s.project); err != nil {
		return err
	}
	s.line("syncline deploy: the TypeScript function is bundled, checked and live", time.Since(began), "")
	all, took, err := s.until(ctx, began, func(all records) bool { return len(all) == 120 })
	if err != nil {
		return fmt.Errorf("the first poll should bring 120 issues into the cache: %w", err)
	}
	if err := s.same(all); err != nil {
		return err
	}
	s.line("the first poll has paged through all 120 issues by Link header", took, all.summary())
	// 120 issues are three pages of 50.
	if n := s.github.Requests(); n < 3 {
		return fmt.Errorf("the first poll should ask for three pages, it asked for %d", n)
	}
	n, err := s.app.Wait(ctx, 0, func(n harness.Notification) bool { return n.SyncType == "INITIAL" })
	if err != nil || !n.Verified || n.Results.Added != 120 || !n.Success {
		return untrue(err, "the app should be told of 120 added records by a signed INITIAL notification, got %+v", n)
	}
	s.line("your app was told by a signed webhook: INITIAL, 120 added", n.At.Sub(began), "")
	// A poll of the schedule in the middle of a step would make it tell something
	// else: from here on each poll is one that the story asks for.
	if err := s.client.Pause(ctx, integration, connection, "issues"); err != nil {
		return err
	}
	if err := s.idle(ctx); err != nil {
		return err
	}
	s.line("the schedule, a poll every 30s, is paused for the story; webhooks go on", 0, "")
	return nil
}

func (s *story) webhooks(ctx context.Context) error {
	s.heading("Webhooks")
	told := s.app.Count()
	e := s.github.Create("The rocket does not fly")
	a, took, all, err := s.deliver(ctx, e, func(all records) bool { return all.title(e) == "The rocket does not fly" })
	if err != nil {
		return fmt.Errorf("an opened issue should be in the cache: %w", err)
	}
	s.line(fmt.Sprintf("issue %d was opened: stored and acknowledged in %s, in the cache after", e.Issue.Number, round(a.Took)), took, all.summary())
	e = s.github.Edit(e.Issue.Number, "The rocket flies, but not straight")
	sent := time.Now()
	if _, took, all, err = s.deliver(ctx, e, func(all records) bool { return all.title(e) == e.Issue.Title }); err != nil {
		return fmt.Errorf("an edited issue should be in the cache: %w", err)
	}
	s.line(fmt.Sprintf("issue %d was edited", e.Issue.Number), took, fmt.Sprintf("%s · %q", all.summary(), all.title(e)))
	n, err := s.app.Wait(ctx, told, func(n harness.Notification) bool { return n.SyncType == "WEBHOOK" && n.Results.Updated == 1 })
	if err != nil || !n.Verified {
		return untrue(err, "the app should be told of the edit by a signed WEBHOOK notification, got %+v", n)
	}
	s.line("your app was told of the edit: WEBHOOK, 1 updated, signature verified", n.At.Sub(sent), "")
	began := time.Now()
	const burst = 50
	for range burst {
		e = s.github.Create("One of a burst")
		if a, err := e.Send(ctx, s.http, s.webhook); err != nil || a.Status != http.StatusOK {
			return untrue(err, "a webhook of the burst got %d %s", a.Status, a.Body)
		}
	}
	all, took, err = s.until(ctx, began, func(all records) bool { return len(all) == 121+burst })
	if err != nil {
		return err
	}
	s.line(fmt.Sprintf("%d more issues were opened in one go", burst), took, all.summary())
	return s.same(all)
}

func (s *story) forged(ctx context.Context) error {
	s.heading("What must not count does not count")
	if err := s.client.Quiet(ctx); err != nil {
		return err
	}
	before, err := s.records(ctx)
	if err != nil {
		return err
	}
	e := s.github.Edit(1, "Issue number 1") // nothing that anyone would miss
	a, err := e.SendSignedWith(ctx, s.http, s.webhook, "a guess")
	if err != nil || a.Status != http.StatusUnauthorized {
		return untrue(err, "a delivery with a forged signature should get 401, got %d %s", a.Status, a.Body)
	}
	stored, err := s.client.Deliveries(ctx, "limit=1")
	if err != nil || len(stored) != 1 || stored[0].DeliveryID == e.DeliveryID {
		return untrue(err, "the forged delivery should not be stored, the newest stored is %+v", stored)
	}
	if err := s.client.Quiet(ctx); err != nil {
		return err
	}
	after, err := s.records(ctx)
	if err != nil {
		return err
	}
	if before.newest() != after.newest() {
		return fmt.Errorf("the forged delivery changed the cache: the newest change was %s, it is %s", before.newest(), after.newest())
	}
	s.line("a delivery with a forged signature: 401, the cache is as it was", a.Took, after.summary())
	return nil
}

func (s *story) redelivered(ctx context.Context) error {
	e := s.github.Edit(2, "Delivered twice")
	if _, _, _, err := s.deliver(ctx, e, func(all records) bool { return all.title(e) == e.Issue.Title }); err != nil {
		return err
	}
	if err := s.client.Quiet(ctx); err != nil {
		return err
	}
	before, err := s.records(ctx)
	if err != nil {
		return err
	}
	runs, err := s.client.Runs(ctx, "kind=webhook&limit=1000")
	if err != nil {
		return err
	}
	a, err := e.Send(ctx, s.http, s.webhook)
	if err != nil || a.Status != http.StatusOK || !strings.Contains(a.Body, "duplicate") {
		return untrue(err, "a redelivery should be answered as a duplicate, got %d %s", a.Status, a.Body)
	}
	if err := s.client.Quiet(ctx); err != nil {
		return err
	}
	after, err := s.records(ctx)
	if err != nil {
		return err
	}
	again, err := s.client.Runs(ctx, "kind=webhook&limit=1000")
	if err != nil {
		return err
	}
	if before.newest() != after.newest() || len(again) != len(runs) {
		return fmt.Errorf("the redelivery had an effect: %d runs, before %d", len(again), len(runs))
	}
	s.line("the same delivery once more: known by its id, the function did not run again", a.Took, after.summary())
	return nil
}

func (s *story) slowPoll(ctx context.Context) error {
	s.heading("Neither side undoes the other")
	e := s.github.Edit(3, "As the slow poll read it") // its webhook is lost: the poll has to bring it
	// The oldest change comes first: what was edited last is on the second page.
	gate := s.github.Hold(2)
	if err := s.client.Trigger(ctx, integration, connection, "issues"); err != nil {
		return err
	}
	select {
	case <-gate.Reached():
	case <-ctx.Done():
		return fmt.Errorf("the triggered poll should ask for a page: %w", ctx.Err())
	}
	s.line("a poll has read issue 3 as "+quoted(e.Issue.Title)+", and is slow", 0, "")
	fresh := s.github.Edit(3, "As it is now")
	_, took, all, err := s.deliver(ctx, fresh, func(all records) bool { return all.title(fresh) == fresh.Issue.Title })
	if err != nil {
		return err
	}
	s.line("meanwhile a webhook says "+quoted(fresh.Issue.Title), took, fmt.Sprintf("%s · issue 3 %q", all.summary(), all.title(fresh)))
	polls, err := s.client.Runs(ctx, "kind=poll&limit=1")
	if err != nil || len(polls) != 1 {
		return untrue(err, "there should be one poll that runs, there are %v", polls)
	}
	began := time.Now()
	gate.Release()
	run, err := s.ended(ctx, fmt.Sprint(polls[0]["id"]))
	if err != nil {
		return err
	}
	if all, err = s.records(ctx); err != nil {
		return err
	}
	if got := all.title(fresh); got != fresh.Issue.Title {
		return fmt.Errorf("the slow poll clobbered the webhook: issue 3 is titled %q, it should be %q", got, fresh.Issue.Title)
	}
	if run["status"] != "success" {
		return fmt.Errorf("the slow poll should succeed, it is %v: %v", run["status"], run["error"])
	}
	models, _ := run["models"].(map[string]any)
	result, _ := models[model].(map[string]any)
	if result["contested"] != 1.0 {
		return fmt.Errorf("the slow poll should have given way once, its result is %v", result)
	}
	s.line("the poll ends: it gave way once, and the fresher title stands", time.Since(began), fmt.Sprintf("%s · issue 3 %q", all.summary(), all.title(fresh)))
	return nil
}

func (s *story) lost(ctx context.Context) error {
	e := s.github.Close(4)
	all, err := s.records(ctx)
	if err != nil {
		return err
	}
	if all.field(e, "state") != "open" { // nothing told the cache
		return fmt.Errorf("issue 4 should still be open in the cache, it is %s", all.field(e, "state"))
	}
	s.line("issue 4 was closed, but the webhook was lost", 0, fmt.Sprintf("%s · issue 4 is %s", all.summary(), all.field(e, "state")))
	began := time.Now()
	if err := s.client.Trigger(ctx, integration, connection, "issues"); err != nil {
		return err
	}
	all, took, err := s.until(ctx, began, func(all records) bool { return all.field(e, "state") == "closed" })
	if err != nil {
		return fmt.Errorf("the next poll should reconcile the lost webhook: %w", err)
	}
	s.line("the next poll reconciles it", took, fmt.Sprintf("%s · issue 4 is %s", all.summary(), all.field(e, "state")))
	return nil
}

func (s *story) deletion(ctx context.Context) error {
	s.heading("Deletions, and what your app hears")
	e := s.github.Delete(5)
	_, took, all, err := s.deliver(ctx, e, func(all records) bool { return all[id(e)].Deleted })
	if err != nil {
		return fmt.Errorf("a deleted issue should be marked deleted: %w", err)
	}
	r := all[id(e)]
	if r.Action != "DELETED" || r.Fields["title"] != e.Issue.Title {
		return fmt.Errorf("the deleted record should be DELETED and keep its payload, it is %s with %v", r.Action, r.Fields)
	}
	s.line("issue 5 was deleted: the record is marked DELETED and keeps its last payload", took, all.summary())
	return nil
}

func (s *story) told(ctx context.Context) error {
	n, err := s.app.Wait(ctx, 0, func(n harness.Notification) bool { return n.SyncType == "WEBHOOK" && n.Results.Deleted == 1 })
	if err != nil || !n.Verified {
		return untrue(err, "the app should be told of the deletion: %+v", n)
	}
	if err := s.client.Quiet(ctx); err != nil {
		return err
	}
	all := s.app.Notifications()
	kinds := map[string]int{}
	for _, n := range all {
		if !n.Verified {
			return fmt.Errorf("notification %s is not signed with the environment's key", n.ID)
		}
		kinds[n.SyncType]++
	}
	s.line(fmt.Sprintf("your app received %d notifications, each signed, each verified", len(all)), 0,
		fmt.Sprintf("%d INITIAL · %d INCREMENTAL · %d WEBHOOK", kinds["INITIAL"], kinds["INCREMENTAL"], kinds["WEBHOOK"]))
	records, err := s.records(ctx)
	if err != nil {
		return err
	}
	if err := s.same(records); err != nil {
		return err
	}
	s.line("the cache equals the stand-in's issues, one by one", 0, records.summary())
	return nil
}

// goOn keeps the repository busy until the user has seen enough.
func (s *story) goOn(ctx context.Context) error {
	s.text("  page      %s/", s.server.URL)
	s.text("  webhooks  %s", s.webhook)
	s.text("  records   curl -s '%s/records?model=%s' -H 'Authorization: Bearer %s' -H 'Provider-Config-Key: %s' -H 'Connection-Id: %s'",
		s.server.URL, model, harness.Key, integration, connection)
	if err := s.client.Resume(ctx, integration, connection, "issues"); err != nil {
		return err
	}
	s.text("\nThe schedule runs again. The stand-in stays busy: one change every two seconds. Ctrl-C ends it.\n")
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(2 * time.Second):
		}
		// Ctrl-C reaches the server too: what fails then is no failure.
		if err := s.oneMore(ctx, n); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// oneMore makes the nth further change of the repository.
func (s *story) oneMore(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var e *github.Event
	number := 6 + n%50
	switch n % 4 {
	case 0:
		e = s.github.Create(fmt.Sprintf("Opened as change %d", n))
	case 1:
		e = s.github.Close(number)
	default:
		e = s.github.Edit(number, fmt.Sprintf("Edited as change %d", n))
	}
	_, took, all, err := s.deliver(ctx, e, func(all records) bool {
		return all.title(e) == e.Issue.Title && all.field(e, "state") == e.Issue.State
	})
	if err != nil {
		return untrue(err, "issue %d should be %q, %s in the cache", e.Issue.Number, e.Issue.Title, e.Issue.State)
	}
	s.line(fmt.Sprintf("issue %d was %s", e.Issue.Number, e.Action), took, all.summary())
	return nil
}

func quoted(text string) string { return fmt.Sprintf("%q", text) }
