package fn

import (
	"bytes"
	"encoding/hex"
)

// libraryLine begins the first line of a bundle that continues a library.
const libraryLine = "//# syncline-library="

// Library is the library that a bundle continues: a script that is run before
// it in the same context, and that many bundles share (the project's zod, for
// example). It is stored as a bundle of its own; hash is the hex SHA-256 of its
// source. Libraries have no library.
func Library(source []byte) (hash string, ok bool) {
	rest, ok := bytes.CutPrefix(source, []byte(libraryLine))
	if !ok || len(rest) < 65 || rest[64] != '\n' {
		return "", false
	}
	if _, err := hex.DecodeString(string(rest[:64])); err != nil {
		return "", false
	}
	return string(rest[:64]), true
}

// WithLibrary makes code, the text of a bundle, continue the library with a hash.
func WithLibrary(hash string, code []byte) []byte {
	return append([]byte(libraryLine+hash+"\n"), code...)
}
