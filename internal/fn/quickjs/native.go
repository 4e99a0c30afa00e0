package quickjs

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"hash"
	"net/url"
	"strconv"
	"strings"

	"syncline"
)

// native is what the globals leave to Go: parsing URLs, hashing, randomness.
// The result is "" when the input is not acceptable.
func native(op, a, b, c string) string {
	switch op {
	case "uuid":
		return syncline.NewUUID()
	case "random":
		n, err := strconv.Atoi(a)
		if err != nil || n < 0 || n > 65536 {
			return ""
		}
		out := make([]byte, n)
		rand.Read(out) // never fails (crypto/rand)
		return base64.StdEncoding.EncodeToString(out)
	case "hash", "hmac":
		return digest(op == "hmac", a, b, c)
	case "url":
		return parseURL(a, b)
	}
	return ""
}

func digest(keyed bool, algorithm, data, key string) string {
	makers := map[string]func() hash.Hash{
		"md5": md5.New, "sha1": sha1.New, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
	}
	maker := makers[strings.ReplaceAll(algorithm, "-", "")]
	in, err := base64.StdEncoding.DecodeString(data)
	if maker == nil || err != nil {
		return ""
	}
	h := maker()
	if keyed {
		k, err := base64.StdEncoding.DecodeString(key)
		if err != nil {
			return ""
		}
		h = hmac.New(maker, k)
	}
	h.Write(in)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

var defaultPorts = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}

// parseURL is the URL record of href, relative to base, as JSON.
func parseURL(href, base string) string {
	u, err := url.Parse(strings.TrimSpace(href))
	if err != nil {
		return ""
	}
	if base != "" {
		b, err := url.Parse(base)
		if err != nil || !b.IsAbs() {
			return ""
		}
		u = b.ResolveReference(u)
	}
	if !u.IsAbs() {
		return ""
	}
	_, special := defaultPorts[u.Scheme]
	if special && u.Host == "" {
		return ""
	}
	out := map[string]string{
		"protocol": u.Scheme + ":", "hostname": strings.ToLower(u.Hostname()), "port": u.Port(), "pathname": u.EscapedPath(),
		"search": "", "hash": "", "username": "", "password": "", "opaque": u.Opaque,
	}
	if strings.Contains(out["hostname"], ":") {
		out["hostname"] = "[" + out["hostname"] + "]"
	}
	if out["port"] == defaultPorts[u.Scheme] {
		out["port"] = ""
	}
	if special && out["pathname"] == "" {
		out["pathname"] = "/"
	}
	if u.RawQuery != "" {
		out["search"] = "?" + strings.ReplaceAll(u.RawQuery, " ", "%20")
	}
	if f := u.EscapedFragment(); f != "" {
		out["hash"] = "#" + f
	}
	if u.User != nil {
		out["username"] = url.PathEscape(u.User.Username())
		if p, ok := u.User.Password(); ok {
			out["password"] = url.PathEscape(p)
		}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return ""
	}
	return string(b)
}
