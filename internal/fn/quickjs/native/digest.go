package native

import (
	"crypto"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"hash"
	"strings"

	"golang.org/x/crypto/ripemd160" //nolint:staticcheck // some APIs still sign with it
)

// algorithm is a hash by its names in Node, which are those of OpenSSL.
type algorithm struct {
	make func() hash.Hash
	id   crypto.Hash // for signatures; 0 is none
}

var algorithms = map[string]algorithm{
	"md5":       {md5.New, crypto.MD5},
	"sha1":      {sha1.New, crypto.SHA1},
	"sha224":    {sha256.New224, crypto.SHA224},
	"sha256":    {sha256.New, crypto.SHA256},
	"sha384":    {sha512.New384, crypto.SHA384},
	"sha512":    {sha512.New, crypto.SHA512},
	"sha512224": {sha512.New512_224, crypto.SHA512_224},
	"sha512256": {sha512.New512_256, crypto.SHA512_256},
	"sha3224":   {func() hash.Hash { return sha3.New224() }, 0},
	"sha3256":   {func() hash.Hash { return sha3.New256() }, 0},
	"sha3384":   {func() hash.Hash { return sha3.New384() }, 0},
	"sha3512":   {func() hash.Hash { return sha3.New512() }, 0},
	"ripemd160": {ripemd160.New, 0},
}

// hashNamed finds a hash by a name such as sha256, SHA-256 or RSA-SHA256.
func hashNamed(name string) (algorithm, bool) {
	name = strings.ToLower(name)
	name = strings.TrimPrefix(name, "rsa-")
	name = strings.NewReplacer("-", "", "/", "").Replace(name)
	if name == "rmd160" {
		name = "ripemd160"
	}
	a, ok := algorithms[name]
	return a, ok
}

// digest is the hash of base64 data, or its HMAC with a base64 key.
func digest(keyed bool, name, data, key string) string {
	a, ok := hashNamed(name)
	in, err := base64.StdEncoding.DecodeString(data)
	if !ok || err != nil {
		return ""
	}
	h := a.make()
	if keyed {
		k, err := base64.StdEncoding.DecodeString(key)
		if err != nil {
			return ""
		}
		h = hmac.New(a.make, k)
	}
	h.Write(in)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}
