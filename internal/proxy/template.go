package proxy

import (
	"encoding/base64"
	"net/url"
	"strings"

	"syncline"
)

// variables resolves the names in the catalogue's templates.
type variables struct {
	credentials map[string]string
	connection  *syncline.Connection
	secrets     *redactor // learns what credentials were rendered to
}

// lookup returns the value of a variable. secret says that it is a credential.
func (v variables) lookup(name string) (value string, secret, ok bool) {
	if inner, found := strings.CutPrefix(name, "base64("); found && strings.HasSuffix(inner, ")") {
		var parts []string
		for part := range strings.SplitSeq(strings.TrimSuffix(inner, ")"), ":") {
			if part != "" { // an empty name is an empty string: "apiKey:"
				value, _, ok := v.lookup(part)
				if !ok {
					return "", false, false
				}
				part = value
			}
			parts = append(parts, part)
		}
		return base64.StdEncoding.EncodeToString([]byte(strings.Join(parts, ":"))), true, true
	}
	if path, found := strings.CutPrefix(name, "connectionConfig."); found && v.connection != nil {
		value, ok = walk(v.connection.ConnectionConfig, path)
		return value, false, ok
	}
	if path, found := strings.CutPrefix(name, "metadata."); found && v.connection != nil {
		value, ok = walk(v.connection.Metadata, path)
		return value, false, ok
	}
	value, ok = v.credentials[name]
	return value, true, ok
}

// walk reads the scalar at a dotted path.
func walk(m map[string]any, path string) (string, bool) {
	for {
		head, rest, nested := strings.Cut(path, ".")
		if !nested {
			s, ok := syncline.ScalarString(m[head])
			return s, ok && s != ""
		}
		next, ok := m[head].(map[string]any)
		if !ok {
			return "", false
		}
		m, path = next, rest
	}
}

// expand renders a template. place, which may be nil, turns a value into what
// may stand after the text rendered so far, or refuses it. The error names the
// variable, never its value.
func (v variables) expand(template string, place func(before, name, value string) (string, error)) (string, error) {
	var out strings.Builder
	for rest := template; ; {
		before, after, found := strings.Cut(rest, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return "", syncline.Errorf(syncline.CodeInvalid, "the template %q of the provider is not closed", template)
		}
		name = strings.TrimSpace(name)
		value, secret, ok := v.lookup(name)
		if !ok {
			return "", v.unset(name)
		}
		if secret {
			v.secrets.add(value)
		}
		if place != nil {
			placed, err := place(out.String(), name, value)
			if err != nil {
				return "", err
			}
			if secret {
				v.secrets.add(placed)
			}
			value = placed
		}
		out.WriteString(value)
		rest = tail
	}
}

func (v variables) unset(name string) error {
	what := "credentials"
	if v.connection != nil {
		what = "connection \"" + v.connection.ConnectionID + "\""
	}
	err := syncline.Errorf(syncline.CodeInvalid, "%s has no %s, which the provider's requests need", what, name)
	switch head, field, _ := strings.Cut(name, "."); head {
	case "connectionConfig":
		return err.WithHint("set %s in the connection's connection_config", field)
	case "metadata":
		return err.WithHint("set %s in the connection's metadata", field)
	}
	return err.WithHint("import the connection with the credentials that its provider takes")
}

// expandBaseURL renders the template of a base URL. Values come from
// customers, so one can fill only the part of the URL that it stands in: no
// value in a host can end the host, and none in a path can leave its segment.
func (v variables) expandBaseURL(template string) (string, error) {
	return v.expand(template, func(before, name, value string) (string, error) {
		refuse := func(why string) (string, error) {
			return "", syncline.Errorf(syncline.CodeInvalid, "%s of the connection %s", name, why)
		}
		if strings.TrimSpace(before) == "" {
			u, err := url.Parse(value)
			if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
				return refuse("is not a plain http or https URL")
			}
			return strings.TrimRight(value, "/"), nil
		}
		_, authority, inURL := strings.Cut(before, "://")
		switch {
		case !inURL:
			return refuse("stands where the URL's scheme is")
		case strings.Contains(authority, "?"):
			return url.QueryEscape(value), nil
		case strings.Contains(authority, "/"):
			if value == "." || value == ".." {
				return refuse("cannot be a segment of a path")
			}
			return url.PathEscape(value), nil
		}
		if strings.ContainsFunc(value, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_' || r == ':')
		}) {
			return refuse("is not a host name (write it without https:// and path)")
		}
		return value, nil
	})
}
