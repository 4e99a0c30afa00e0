package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"syncline"
)

var update = flag.Bool("update", false, "write the golden files")

func load(t *testing.T, args []string, environ ...string) (*Loaded, error) {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Bind(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(fs, environ)
}

func sourceOf(t *testing.T, l *Loaded, name string) (string, Source) {
	t.Helper()
	for _, v := range l.Values() {
		if v.Name == name {
			return v.Value, v.Source
		}
	}
	t.Fatalf("no value %q", name)
	return "", ""
}

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	c := Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.WebhookBodyLimit != 25<<20 || c.InboxRetention != 30*24*time.Hour || c.EventMaxAttempts != 5 || c.PublicURL != "http://127.0.0.1:3003" {
		t.Fatalf("unexpected defaults: %+v", c)
	}
}

func TestEveryFieldIsDescribed(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range Settings() {
		if s.Help == "" || s.Group == "" || s.Form == "" || seen[s.Flag] {
			t.Errorf("--%s: needs a help text, a group and a form, once", s.Flag)
		}
		seen[s.Flag] = true
		s.bound(s.Min) // panics when it cannot be read
		s.bound(s.Max)
		if s.Default != "" {
			v, err := s.parse(s.Default)
			if err != nil || format(v) != s.Default {
				t.Errorf("--%s: default %q is shown as %q (%v)", s.Flag, s.Default, format(v), err)
			}
		}
	}
}

func TestAFlagWinsOverAVariableAndAVariableOverTheDefault(t *testing.T) {
	t.Parallel()
	l, err := load(t,
		[]string{"--listen", ":4000", "--allow-private-networks", "--run-retention=36h"},
		"SYNCLINE_LISTEN=:5000", "SYNCLINE_WEBHOOK_BODY_LIMIT=1 MB", "SYNCLINE_LOG_LEVEL=", "HOME=/root",
	)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]string{
		"listen":                 {":4000", "flag"},
		"public-url":             {"http://localhost:4000", "derived"},
		"allow-private-networks": {"true", "flag"},
		"run-retention":          {"36h", "flag"},
		"webhook-body-limit":     {"1MB", "environment"},
		"log-level":              {"info", "default"},
	} {
		if value, source := sourceOf(t, l, name); value != want[0] || string(source) != want[1] {
			t.Errorf("%s is %q by %s, want %q by %s", name, value, source, want[0], want[1])
		}
	}
	if len(l.Warnings) != 0 {
		t.Errorf("unexpected warnings: %q", l.Warnings)
	}
}

func TestEverythingThatIsWrongIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := load(t,
		[]string{"--listen", "nonsense", "--log-level=loud", "--workers=0", "--poll-wall-limit", "5"},
		"SYNCLINE_RUN_MEMORY_LIMIT=lots", "SYNCLINE_PUBLIC_URL=ftp://x", "SYNCLINE_SECRET_KEY_DEV=short", "SYNCLINE_SECRET_KEY_9=0123456789abcdef",
	)
	if syncline.CodeOf(err) != syncline.CodeInvalid {
		t.Fatalf("code %q: %v", syncline.CodeOf(err), err)
	}
	for _, want := range []string{
		`--listen (SYNCLINE_LISTEN): "nonsense" is not a host and a port`,
		`--log-level (SYNCLINE_LOG_LEVEL): "loud" is not one of debug, info, warn, error`,
		`--workers (SYNCLINE_WORKERS): 0 is out of range: 1 to 256`,
		`--poll-wall-limit (SYNCLINE_POLL_WALL_LIMIT): "5" is not a duration`,
		`--run-memory-limit (SYNCLINE_RUN_MEMORY_LIMIT): "lots" is not a size`,
		`--public-url (SYNCLINE_PUBLIC_URL): "ftp://x" is not an absolute URL`,
		`SYNCLINE_SECRET_KEY_DEV: a key has at least 16 characters`,
		`SYNCLINE_SECRET_KEY_9: the part after`,
	} {
		if n := strings.Count(err.Error(), want); n != 1 {
			t.Errorf("%q is reported %d times in:\n%v", want, n, err)
		}
	}
	if strings.Contains(err.Error(), "short") {
		t.Errorf("a key is shown:\n%v", err)
	}
}

func TestOneKeyCannotServeTwoEnvironments(t *testing.T) {
	t.Parallel()
	_, err := load(t, nil, "SYNCLINE_SECRET_KEY_DEV=0123456789abcdef", "SYNCLINE_SECRET_KEY_PROD=0123456789abcdef")
	if err == nil || !strings.Contains(err.Error(), "SYNCLINE_SECRET_KEY_PROD: is the same key as SYNCLINE_SECRET_KEY_DEV") {
		t.Fatalf("got %v", err)
	}
}

func TestSecretKeysNameEnvironments(t *testing.T) {
	t.Parallel()
	l, err := load(t, nil, "SYNCLINE_SECRET_KEY_DEV=0123456789abcdef", "SYNCLINE_SECRET_KEY_PROD_EU=0123456789abcdeF")
	if err != nil {
		t.Fatal(err)
	}
	if got := sortedKeys(l.Config.SecretKeys); !slices.Equal(got, []string{"dev", "prod_eu"}) || l.Config.SecretKeys["prod_eu"] != "0123456789abcdeF" {
		t.Fatalf("got %v", got)
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	const secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IDEyMzQ="
	l, err := load(t, nil, "SYNCLINE_ENCRYPTION_KEY="+secret, "SYNCLINE_SECRET_KEY_DEV=0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", l.Config.EncryptionKey, "config", l.Config)
	encoded, err := json.Marshal(l.Config)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q %s", l.Config, l.Config, l.Config, encoded, l.Values(), log.String())
	if strings.Contains(all, secret) || strings.Contains(all, "0123456789abcdef") {
		t.Fatalf("a secret is shown: %s", all)
	}
	if value, _ := sourceOf(t, l, "encryption-key"); value != "(secret)" {
		t.Errorf("the encryption key is shown as %q", value)
	}
}

func TestAnUnknownVariableIsNamedWithTheNearestOne(t *testing.T) {
	t.Parallel()
	l, err := load(t, nil, "SYNCLINE_DATADIR=/x", "SYNCLINE_SOMETHING_ELSE_ALTOGETHER=1", "SYNCLINE_SERVER=http://x", "SYNCLINE_SECRET_KEY=k")
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Warnings) != 2 || !strings.Contains(l.Warnings[0], "did you mean SYNCLINE_DATA_DIR?") || !strings.Contains(l.Warnings[1], "there is no such setting") {
		t.Fatalf("got %q", l.Warnings)
	}
}

func TestThePublicURLWaitsForAFreePort(t *testing.T) {
	t.Parallel()
	l, err := load(t, []string{"--listen=127.0.0.1:0"})
	if err != nil || l.Config.PublicURL != "" {
		t.Fatalf("got %q, %v", l.Config.PublicURL, err)
	}
	for address, want := range map[string]string{
		"127.0.0.1:3003": "http://127.0.0.1:3003", "[::]:80": "http://localhost:80", ":80": "http://localhost:80", "[::1]:80": "http://[::1]:80",
	} {
		if got := PublicURLOf(address); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{
		"25MB": 25e6, "25MiB": 25 << 20, "25 mib": 25 << 20, "1.5GB": 1.5e9, "10k": 10e3, "512": 512, "0": 0, "9007199254740993": 9007199254740993,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MB", "-1MB", "1XB", "1MB2", "9999999TB", "NaN", "1e3MB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q is taken as %d", text, got)
		}
	}
}

func TestDurations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "7d": 7 * 24 * time.Hour, "1h30m": 90 * time.Minute, "0.5d": 12 * time.Hour, "2w": 14 * 24 * time.Hour, "500ms": 500 * time.Millisecond, "0s": 0,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q is %s (%v), want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "0", "-5s", "d", "1d2h", "99999999999d", "five minutes"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is taken as %s", text, got)
		}
	}
}

func TestReferencePage(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "configuration.md")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != Reference() {
		t.Fatalf("%s is not what the tags say (%v); run: make docs", path, err)
	}
}

func TestADatabaseURLIsShownWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"postgres://sync:hidden@db:5432/sync?sslmode=require":             "postgres://sync:xxxxx@db:5432/sync?sslmode=require",
		"postgres://db/sync?user=sync&password=hidden":                    "postgres://db/sync?password=xxxxx&user=sync",
		"postgres://db/sync?sslpassword=hidden":                           "postgres://db/sync?sslpassword=xxxxx",
		"host=db user=sync password=hidden dbname=sync":                   "host=db user=sync password=xxxxx dbname=sync",
		`host=db PASSWORD = 'hid den\' hidden' sslpassword=hidden port=1`: "host=db PASSWORD=xxxxx sslpassword=xxxxx port=1",
		"postgresql:///sync?host=/var/run/postgresql":                     "postgresql:///sync?host=/var/run/postgresql",
		"postgres://sync:hid%zzden@db/sync":                               "(secret)",
		"hidden":                                                          "(secret)",
		"":                                                                "",
	} {
		d := DSN(text)
		if got := d.String(); got != want {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
		encoded, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "dsn", d)
		if all := fmt.Sprintf("%v %+v %#v %s %q %s", d, d, d, d, d, encoded) + log.String(); strings.Contains(all, "hidden") {
			t.Errorf("the password is shown: %s", all)
		}
	}
}

func TestTheDatabaseIsTakenFromItsOwnVariableFirst(t *testing.T) {
	t.Parallel()
	const own, common = "postgres://a:hidden@own/x", "postgres://a:hidden@common/x"
	for _, c := range []struct {
		args, environ       []string
		value, source, read string
	}{
		{nil, []string{"DATABASE_URL=" + common}, "postgres://a:xxxxx@common/x", "environment", "DATABASE_URL"},
		{nil, []string{"DATABASE_URL=" + common, "SYNCLINE_DATABASE_URL=" + own}, "postgres://a:xxxxx@own/x", "environment", "SYNCLINE_DATABASE_URL"},
		{[]string{"--database-url", "postgres://flag/x"}, []string{"DATABASE_URL=" + common}, "postgres://flag/x", "flag", "SYNCLINE_DATABASE_URL"},
		{nil, []string{"DATABASE_URL="}, "", "default", "SYNCLINE_DATABASE_URL"},
	} {
		l, err := load(t, c.args, c.environ...)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range l.Values() {
			if v.Name == "database-url" && (v.Value != c.value || string(v.Source) != c.source || v.Env != c.read) {
				t.Errorf("%q %q: got %+v", c.args, c.environ, v)
			}
		}
	}
}

func TestADatabaseURLThatCannotBeIsRefusedWithoutBeingShown(t *testing.T) {
	t.Parallel()
	_, err := load(t, []string{"--database-url", "mysql://a:hidden@db/x"})
	if err == nil || !strings.Contains(err.Error(), "--database-url (SYNCLINE_DATABASE_URL): the value is not a Postgres URL") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got %v", err)
	}
	_, err = load(t, []string{"--database-read-url", "postgres://db/x"})
	if err == nil || !strings.Contains(err.Error(), "there is no database that it could be a replica of") {
		t.Errorf("got %v", err)
	}
}
