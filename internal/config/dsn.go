package config

import (
	"log/slog"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// DSN is a connection string of a database: a URL, or words as in
// "host=… dbname=…". Formatting, logging and encoding it masks its password.
// Convert it to a string to use it.
type DSN string

const masked = "xxxxx"

// passwordWord is a word that holds a password, with its value.
var passwordWord = regexp.MustCompile(`(?i)((?:ssl)?password)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s\\]|\\.)*)`)

// String is the connection string with its password masked.
func (d DSN) String() string {
	switch {
	case d == "":
		return ""
	case !strings.Contains(string(d), "://"):
		if !strings.Contains(string(d), "=") {
			return secretShown // whatever it is
		}
		return passwordWord.ReplaceAllString(string(d), "$1="+masked)
	}
	u, err := url.Parse(string(d))
	if err != nil {
		return secretShown
	}
	if q := u.Query(); q.Has("password") || q.Has("sslpassword") {
		for _, name := range []string{"password", "sslpassword"} {
			if q.Has(name) {
				q.Set(name, masked)
			}
		}
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}

// GoString keeps %#v from showing the password.
func (d DSN) GoString() string { return strconv.Quote(d.String()) }

// LogValue keeps loggers from showing the password.
func (d DSN) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalText keeps encoders from showing the password.
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// valid tells whether it has the form of a connection string of Postgres. The
// driver reads the rest.
func (d DSN) valid() bool {
	if !strings.Contains(string(d), "://") {
		return strings.Contains(string(d), "=")
	}
	u, err := url.Parse(string(d))
	return err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql")
}
