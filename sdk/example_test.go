package sdk_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"syncline/sdk"
	"syncline/sdk/sdktest"
)

// Contact is a record.
type Contact struct {
	ID    string `json:"id"`
	Email string `json:"email"`
}

// Cursor is a checkpoint.
type Cursor struct {
	Since string `json:"since"`
}

var cursor sdk.Checkpoint[Cursor]

var contacts = sdk.Sync[Contact]{
	Name:                 "contacts",
	Integration:          "crm",
	Every:                5 * time.Minute,
	Model:                sdk.Model[Contact]{Merge: sdk.IgnoreIfModifiedAfter},
	Checkpoint:           cursor,
	WebhookSubscriptions: []string{"contact.updated"},
	Exec: func(ctx context.Context, h *sdk.SyncHandle[Contact]) error {
		pages := sdk.Paginate[Contact](ctx, h, sdk.Request{Endpoint: "/contacts", Retries: 3}, &sdk.Pagination{
			Type: sdk.CursorPagination, CursorName: "after", CursorPath: "paging.next", ResponsePath: "results",
		})
		for page, err := range pages {
			if err != nil {
				return err
			}
			if err := h.BatchSave(ctx, page...); err != nil {
				return err
			}
			if err := cursor.Save(ctx, h, Cursor{Since: page[len(page)-1].ID}); err != nil {
				return err
			}
		}
		return nil
	},
	OnWebhook: func(ctx context.Context, h *sdk.SyncHandle[Contact], w *sdk.Webhook) error {
		var c Contact
		if err := w.Decode(&c); err != nil {
			return err
		}
		return h.BatchSave(ctx, c)
	},
}

// A sync polls page by page, and handles webhooks.
func ExampleSync() {
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("after") == "" {
			fmt.Fprint(w, `{"results":[{"id":"1","email":"ada@example.com"}],"paging":{"next":"p2"}}`)
			return
		}
		fmt.Fprint(w, `{"results":[{"id":"2","email":"grace@example.com"}],"paging":{}}`)
	})
	host := &sdktest.Host{API: api}
	ctx := context.Background()
	if err := host.Poll(ctx, contacts); err != nil {
		fmt.Println(err)
	}
	payload := json.RawMessage(`{"id":"2","email":"grace@navy.example"}`)
	if err := host.Webhook(ctx, contacts, sdk.Webhook{Type: "contact.updated", Payload: payload}); err != nil {
		fmt.Println(err)
	}
	all, err := sdktest.Records[Contact](host, "Contact")
	fmt.Println(len(all), all["1"].Email, all["2"].Email, err)
	// Output: 2 ada@example.com grace@navy.example <nil>
}

type (
	Greeting struct {
		Name string `json:"name"`
	}
	Greeted struct {
		Text string `json:"text"`
	}
)

// An action has an input and an output.
func ExampleAction() {
	greet := sdk.Action[Greeting, Greeted]{
		Name:        "greet",
		Integration: "crm",
		Exec: func(_ context.Context, h *sdk.Handle, in Greeting) (Greeted, error) {
			if in.Name == "" {
				return Greeted{}, &sdk.ActionError{Type: "no_name", Message: "whom?"}
			}
			h.Log("greeting", "name", in.Name)
			return Greeted{Text: "Hello, " + in.Name}, nil
		},
	}
	out, err := sdktest.CallAction(context.Background(), &sdktest.Host{}, greet, Greeting{Name: "Ada"})
	fmt.Println(out.Text, err)
	_, err = sdktest.CallAction(context.Background(), &sdktest.Host{}, greet, Greeting{})
	fmt.Println(err)
	// Output:
	// Hello, Ada <nil>
	// whom?
}

// Any library that takes an *http.Client works with the connection's credentials.
func ExampleHandle_HTTPClient() {
	action := sdk.Action[struct{}, string]{
		Name:        "me",
		Integration: "github",
		Exec: func(ctx context.Context, h *sdk.Handle, _ struct{}) (string, error) {
			client := h.HTTPClient("https://api.github.com/") // github.NewClient(client), say
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.github.com/user", nil)
			if err != nil {
				return "", err
			}
			resp, err := client.Do(r)
			if err != nil {
				return "", err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			return resp.Status + " " + string(body), err
		},
	}
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })
	fmt.Println(sdktest.CallAction(context.Background(), &sdktest.Host{API: api}, action, struct{}{}))
	// Output: 200 OK /user <nil>
}

func ExampleDecode() {
	action := sdk.Action[struct{}, Contact]{
		Name:        "first",
		Integration: "crm",
		Exec: func(ctx context.Context, h *sdk.Handle, _ struct{}) (Contact, error) {
			return sdk.Decode[Contact](h.Get(ctx, "/contacts/1", nil))
		},
	}
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"id":"1","email":"ada@example.com"}`) })
	c, err := sdktest.CallAction(context.Background(), &sdktest.Host{API: api}, action, struct{}{})
	fmt.Println(c.Email, err)
	// Output: ada@example.com <nil>
}
