package schema

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var errFormat = errors.New("not of this format")

// formats are checked when zod writes no pattern beside them. Others say
// nothing about a value.
var formats = map[string]func(string) bool{
	"date-time":   isDateTime,
	"date":        isDate,
	"time":        timeRE.MatchString,
	"duration":    isDuration,
	"email":       isEmail,
	"uri":         isURL,
	"uuid":        uuidRE.MatchString,
	"ipv4":        func(s string) bool { a, err := netip.ParseAddr(s); return err == nil && a.Is4() },
	"ipv6":        func(s string) bool { a, err := netip.ParseAddr(s); return err == nil && a.Is6() && a.Zone() == "" },
	"hostname":    isHostname,
	"jwt":         isJWT,
	"json-string": func(s string) bool { return json.Valid([]byte(s)) },
}

var (
	timeRE     = regexp.MustCompile(`^(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?(?:Z|[+-](?:[01]\d|2[0-3]):?[0-5]\d)?$`)
	durationRE = regexp.MustCompile(`^P(?:\d+W|(?:\d+Y)?(?:\d+M)?(?:\d+D)?(?:T(?:\d+H)?(?:\d+M)?(?:\d+(?:[.,]\d+)?S)?)?)$`)
	uuidRE     = regexp.MustCompile(`^[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`)
	labelRE    = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	localRE    = regexp.MustCompile(`^[A-Za-z0-9_'+.-]*[A-Za-z0-9_+-]$`)
	topRE      = regexp.MustCompile(`^[A-Za-z]{2,}$`)
	schemeRE   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)
)

func isDate(s string) bool {
	_, err := time.Parse(time.DateOnly, s)
	return err == nil
}

// isDateTime takes the forms that zod's options allow: an offset, none, and no
// seconds.
func isDateTime(s string) bool {
	date, rest, ok := strings.Cut(s, "T")
	return ok && isDate(date) && timeRE.MatchString(rest)
}

func isDuration(s string) bool {
	return durationRE.MatchString(s) && !strings.HasSuffix(s, "P") && !strings.HasSuffix(s, "T")
}

func isEmail(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || !localRE.MatchString(local) || strings.HasPrefix(local, ".") || strings.Contains(s, "..") {
		return false
	}
	labels := strings.Split(domain, ".")
	for _, l := range labels {
		if l == "" || strings.HasPrefix(l, "-") || strings.Trim(l, "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
			return false
		}
	}
	return len(labels) > 1 && topRE.MatchString(labels[len(labels)-1])
}

func isHostname(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for l := range strings.SplitSeq(s, ".") {
		if !labelRE.MatchString(l) {
			return false
		}
	}
	return true
}

// isURL takes what the URL class of JavaScript takes: any scheme, and for those
// of the web a host.
func isURL(s string) bool {
	s = strings.TrimSpace(s)
	scheme := schemeRE.FindString(s)
	if scheme == "" {
		return false
	}
	rest := s[len(scheme):]
	switch strings.ToLower(scheme) {
	case "http:", "https:", "ws:", "wss:", "ftp:":
	default:
		return true
	}
	rest = strings.TrimLeft(rest, `/\`)
	if i := strings.IndexAny(rest, `/\?#`); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.LastIndex(rest, "@"); i >= 0 {
		rest = rest[i+1:]
	}
	host := rest
	if h, port, ok := cutPort(rest); ok {
		if n, err := strconv.Atoi("0" + port); err != nil || n > 65535 {
			return false
		}
		host = h
	}
	if strings.HasPrefix(host, "[") {
		return strings.HasSuffix(host, "]") && net.ParseIP(host[1:len(host)-1]) != nil
	}
	return host != "" && !strings.ContainsAny(host, " \t\n\r#%/:<>?@[\\]^|")
}

func cutPort(s string) (host, port string, ok bool) {
	i := strings.LastIndex(s, ":")
	if i < 0 || strings.HasSuffix(s, "]") {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func isJWT(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return false
	}
	head, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[0], "="))
	if err != nil {
		return false
	}
	var header struct {
		Typ *string `json:"typ"`
		Alg string  `json:"alg"`
	}
	return json.Unmarshal(head, &header) == nil && header.Alg != "" && (header.Typ == nil || *header.Typ == "JWT")
}
