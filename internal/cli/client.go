package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"syncline"
	"syncline/internal/config"
)

const (
	defaultServer      = "http://127.0.0.1:3003"
	defaultEnvironment = "dev"
	// answerLimit bounds what is read of one answer, in bytes.
	answerLimit = 64 << 20
	// requestTimeout bounds one request. A deployment of many functions takes
	// the server some seconds.
	requestTimeout = 2 * time.Minute
)

// target is the server that a command talks to, as its flags and variables say.
type target struct {
	server, key, environment, dataDir string
	flags                             *pflag.FlagSet
}

// bind adds the flags that name a server and a key.
func (t *target) bind(cmd *cobra.Command) {
	t.flags = cmd.Flags()
	t.flags.StringVar(&t.server, "server", "", "Address of the server (SYNCLINE_SERVER; default "+defaultServer+")")
	t.flags.StringVarP(&t.environment, "env", "e", defaultEnvironment, "Environment whose key is taken from SYNCLINE_SECRET_KEY_<ENV> or from the data directory")
	t.flags.StringVar(&t.key, "key", "", "API key; better in SYNCLINE_SECRET_KEY, where other users of the machine cannot see it")
	t.flags.StringVar(&t.dataDir, "data-dir", "", "Data directory of a server on this machine, for its key file (SYNCLINE_DATA_DIR)")
}

// client calls the HTTP API of a server.
type client struct {
	server  string // without a slash at the end
	key     string
	keyFrom string // for people: the flag, variable or file that the key is from
	refused string // for people: what to do when the key is refused
	http    *http.Client
}

// client resolves the server and the key.
func (t *target) client(s Streams) (*client, error) {
	c := &client{server: t.server, http: &http.Client{Timeout: requestTimeout}}
	from := "--server"
	if c.server == "" {
		c.server, from = s.Getenv("SYNCLINE_SERVER"), "SYNCLINE_SERVER"
	}
	if c.server == "" {
		c.server = defaultServer
	}
	u, err := url.Parse(c.server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, usage("%s: %q is not the address of a server", from, c.server).WithHint("write it as %s", defaultServer)
	}
	c.server = strings.TrimRight(c.server, "/")
	return c, t.findKey(s, c)
}

// findKey takes the key from the strongest source. Where --env names the
// environment, SYNCLINE_SECRET_KEY is not asked: it may be another's.
func (t *target) findKey(s Streams, c *client) error {
	variable := config.SecretKeyPrefix + strings.ToUpper(strings.ReplaceAll(t.environment, "-", "_"))
	names := []string{"SYNCLINE_SECRET_KEY", variable}
	if t.flags.Changed("env") {
		names = names[1:]
	}
	c.refused = "set " + variable + " to the value that the server was started with, or name the environment with --env"
	if t.key != "" {
		c.key, c.keyFrom = t.key, "--key"
		return nil
	}
	for _, name := range names {
		if value := strings.TrimSpace(s.Getenv(name)); value != "" {
			c.key, c.keyFrom = value, name
			return nil
		}
	}
	dataDir := t.dataDir
	if dataDir == "" {
		dataDir = s.Getenv("SYNCLINE_DATA_DIR")
	}
	if dataDir == "" {
		dataDir = config.Default().DataDir
	}
	file := config.SecretKeyFile(dataDir, strings.ToLower(t.environment))
	text, err := os.ReadFile(file)
	if key := strings.TrimSpace(string(text)); err == nil && key != "" {
		c.key, c.keyFrom = key, file
		return nil
	}
	return syncline.Errorf(syncline.CodeUnauthorized, "no API key: neither --key nor %s is set, and there is no key file %s", strings.Join(names, " nor "), file).
		WithHint("set %s to the key that the server printed at its first start, or that it was started with", variable)
}

// get calls GET path and decodes the answer into out. headers are names, each
// with its value.
func (c *client) get(ctx context.Context, path string, query url.Values, out any, headers ...string) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.do(ctx, http.MethodGet, path, nil, out, headers...)
}

// post calls POST path with body as JSON and decodes the answer into out.
func (c *client) post(ctx context.Context, path string, body, out any) error {
	return c.do(ctx, http.MethodPost, path, body, out)
}

func (c *client) do(ctx context.Context, method, path string, body, out any, headers ...string) error {
	var payload io.Reader
	if body != nil {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(body); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		payload = &buf
	}
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, payload)
	if err != nil {
		return usage("%w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("User-Agent", "syncline/"+Version().Version)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return c.unreachable(ctx, err)
	}
	if res.StatusCode/100 != 2 {
		return c.failure(res, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return syncline.Errorf(syncline.CodeUpstream, "%s did not answer as a Syncline server does: %s %s: %w", c.server, method, path, err).
			WithHint("is --server (SYNCLINE_SERVER) right?")
	}
	return nil
}

// unreachable is the error of a request that got no answer.
func (c *client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err // without the method and the URL once more
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return syncline.Errorf(syncline.CodeUnavailable, "no server answers at %s", c.server).
			WithHint("start one with: syncline serve; or name another with --server or SYNCLINE_SERVER")
	}
	return syncline.Errorf(syncline.CodeUnavailable, "cannot reach the server at %s: %w", c.server, err).
		WithHint("is --server (SYNCLINE_SERVER) right?")
}

// failure is the error that the server answered with.
func (c *client) failure(res *http.Response, text []byte) error {
	var answer struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			// Payload is what an action that failed says.
			Payload json.RawMessage `json:"payload"`
			Errors  []struct {
				Message string `json:"message"`
				Path    []any  `json:"path"`
			} `json:"errors"`
		} `json:"error"`
	}
	message, field := "", ""
	if json.Unmarshal(text, &answer) == nil {
		message = answer.Error.Message
		if n := len(answer.Error.Errors); n == 1 && len(answer.Error.Errors[0].Path) == 1 {
			field, _ = answer.Error.Errors[0].Path[0].(string)
		} else if n > 1 {
			message = fmt.Sprintf("%d things are wrong", n)
			for _, e := range answer.Error.Errors {
				message += "\n" + e.Message
			}
		}
	}
	if p := answer.Error.Payload; message != "" && len(p) > 0 && string(p) != "{}" {
		message += "\n" + string(p)
	}
	if message == "" {
		return syncline.Errorf(codeOfStatus(res.StatusCode), "%s answered with status %s", c.server, res.Status).
			WithHint("is --server (SYNCLINE_SERVER) the address of a Syncline server?")
	}
	if res.StatusCode == http.StatusUnauthorized {
		return syncline.Errorf(syncline.CodeUnauthorized, "%s refused the key from %s: %s", c.server, c.keyFrom, message).WithHint("%s", c.refused)
	}
	return syncline.Errorf(codeOfStatus(res.StatusCode), "%s", message).WithField(field)
}

// codeOfStatus is the code that a status stands for. The codes of answers are
// Nango's where Nango has the endpoint, so that they cannot be used here.
func codeOfStatus(status int) syncline.Code {
	switch status {
	case http.StatusUnauthorized:
		return syncline.CodeUnauthorized
	case http.StatusForbidden:
		return syncline.CodeForbidden
	case http.StatusNotFound:
		return syncline.CodeNotFound
	case http.StatusMethodNotAllowed:
		return syncline.CodeMethod
	case http.StatusConflict:
		return syncline.CodeConflict
	case http.StatusRequestEntityTooLarge:
		return syncline.CodeTooLarge
	case http.StatusTooManyRequests:
		return syncline.CodeLimited
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return syncline.CodeUnavailable
	}
	if status/100 == 4 {
		return syncline.CodeInvalid
	}
	return syncline.CodeInternal
}
