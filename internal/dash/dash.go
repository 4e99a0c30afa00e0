// Package dash is the first page for people: integrations, their endpoints
// (functions), runs and deliveries, as plain HTML that works without scripts.
// It reads the store and changes nothing; it shows no secrets and no record
// payloads.
package dash

import (
	"bytes"
	"embed"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/secret"
	"syncline/internal/store"
)

//go:embed templates assets
var files embed.FS

// Deps is what the pages are made from.
type Deps struct {
	Store store.Store
	Clock clock.Clock
	Log   *slog.Logger
	// PublicURL is where external APIs reach this server, for webhook URLs.
	PublicURL string
	// Open shows the pages without a login to whoever reaches the server under
	// a loopback name. It is for servers that listen on loopback only. Otherwise
	// the browser asks for a login, whose password is an API key and whose user
	// name does not matter; the key says which environment is shown.
	Open bool
}

type dash struct {
	Deps
	pages map[string]*template.Template
	mux   *http.ServeMux
}

// New returns the handler of "/" and of what lies under "/ui/".
func New(d Deps) http.Handler {
	d.PublicURL = strings.TrimRight(d.PublicURL, "/")
	h := &dash{Deps: d, pages: map[string]*template.Template{}, mux: http.NewServeMux()}
	for _, name := range []string{"overview", "integration", "run", "message"} {
		// The templates are part of the program: one that does not parse is found by any test.
		h.pages[name] = template.Must(template.New("layout.html").Funcs(h.functions()).ParseFS(files, "templates/layout.html", "templates/parts.html", "templates/"+name+".html"))
	}
	h.page("GET /{$}", h.overview)
	h.page("GET /ui/{$}", h.overview)
	h.page("GET /ui/integrations/{uniqueKey}", h.integration)
	h.page("GET /ui/runs/{uuid}", h.run)
	h.asset("GET /ui/style.css", "text/css; charset=utf-8")
	h.asset("GET /ui/icon.svg", "image/svg+xml")
	return h
}

// ServeHTTP sets what every page has, and answers what no page is for.
func (h *dash) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		head.Set("Allow", "GET, HEAD")
		h.message(w, http.StatusMethodNotAllowed, "This page can only be read", "To change something, use the HTTP API or the command line.")
		return
	}
	if _, pattern := h.mux.Handler(r); pattern == "" {
		h.message(w, http.StatusNotFound, "There is no such page", "Go back to the overview.")
		return
	}
	h.mux.ServeHTTP(w, r)
}

// viewer is who looks: which environments they may see, and which one they do.
type viewer struct {
	Environments []syncline.Environment // more than one only on open servers
	Env          syncline.Environment
}

// pageFunc reads what a page shows, on one snapshot.
type pageFunc func(r store.Reader, v *viewer, req *http.Request) (template string, data any, err error)

func (h *dash) page(pattern string, page pageFunc) {
	h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if h.Open && !loopback(r.Host) {
			// Another site's name that was made to point here must not read the pages.
			h.message(w, http.StatusForbidden, "Open this page as localhost", "Without a login it is shown only under a loopback name, such as http://localhost.")
			return
		}
		var name string
		var data any
		err := h.Store.View(r.Context(), func(rd store.Reader) error {
			v, err := h.viewer(rd, r)
			if err != nil {
				return err
			}
			name, data, err = page(rd, v, r)
			return err
		})
		switch code := syncline.CodeOf(err); {
		case err == nil:
			h.render(w, http.StatusOK, name, data)
		case r.Context().Err() != nil:
		case code == syncline.CodeUnauthorized:
			w.Header().Set("WWW-Authenticate", `Basic realm="Syncline: an API key as the password", charset="UTF-8"`)
			h.message(w, http.StatusUnauthorized, "A login is needed", "The password is an API key of the environment to look at; the user name does not matter.")
		case code == syncline.CodeNotFound:
			h.message(w, http.StatusNotFound, "This is not here", "It may have been deleted, or belong to another environment.")
		default:
			h.Log.Error("a page failed", "path", r.URL.Path, "err", err)
			h.message(w, http.StatusInternalServerError, "The page cannot be shown", "The server's log says why.")
		}
	})
}

// viewer finds out who looks.
func (h *dash) viewer(r store.Reader, req *http.Request) (*viewer, error) {
	if !h.Open {
		_, key, _ := req.BasicAuth()
		k, err := r.APIKeyByHash(secret.HashAPIKey(key))
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return nil, syncline.Errorf(syncline.CodeUnauthorized, "no known API key was given")
		}
		if err != nil {
			return nil, err
		}
		env, err := r.Environment(k.EnvironmentID)
		return &viewer{Environments: []syncline.Environment{env}, Env: env}, err
	}
	all, err := r.Environments()
	if err != nil {
		return nil, err
	}
	name := req.URL.Query().Get("env")
	for i := range all {
		if name == "" || all[i].Name == name {
			return &viewer{Environments: all, Env: all[i]}, nil
		}
	}
	return nil, syncline.Errorf(syncline.CodeNotFound, "there is no environment %q", name)
}

// loopback reports whether a Host header names this machine.
func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// render writes a page, or a failure when it cannot be made.
func (h *dash) render(w http.ResponseWriter, status int, name string, data any) {
	var buf bytes.Buffer
	if err := h.pages[name].Execute(&buf, data); err != nil {
		h.Log.Error("a page cannot be rendered", "page", name, "err", err)
		http.Error(w, "The page cannot be shown; the server's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(buf.Bytes()) // the reader has gone away if this fails
}

// messagePage says one thing.
type messagePage struct {
	*viewer
	Title, Text string
}

func (h *dash) message(w http.ResponseWriter, status int, title, text string) {
	h.render(w, status, "message", messagePage{&viewer{}, title, text})
}

func (h *dash) asset(pattern, contentType string) {
	path := "assets/" + pattern[strings.LastIndex(pattern, "/")+1:]
	h.mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
		data, err := files.ReadFile(path)
		if err != nil {
			h.message(w, http.StatusNotFound, "There is no such page", "Go back to the overview.")
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Write(data)
	})
}

// link is the path of a page, in the viewer's environment.
func (v *viewer) link(segments ...string) string {
	path := "/"
	if len(segments) > 0 {
		path = "/ui"
		for _, s := range segments {
			path += "/" + url.PathEscape(s)
		}
	}
	if len(v.Environments) > 1 {
		path += "?" + url.Values{"env": {v.Env.Name}}.Encode()
	}
	return path
}

// Home is the overview's path.
func (v *viewer) Home() string { return v.link() }

// Switch is the overview's path in another environment.
func (v *viewer) Switch(env syncline.Environment) string {
	return (&viewer{Environments: v.Environments, Env: env}).link()
}
