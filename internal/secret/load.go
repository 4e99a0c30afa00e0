package secret

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"syncline"
)

// EnvVar is the environment variable that holds the encryption keys. It is
// named in messages only; the caller reads it.
const EnvVar = "SYNCLINE_ENCRYPTION_KEY"

// KeyFile is the name of the key file in the data directory.
const KeyFile = "encryption.key"

// LoadOrCreate returns the sealer of a data directory.
//
// fromEnv is the value of [EnvVar]: one or more keys, each 32 bytes in base64,
// comma separated, the first of which is active. When it is empty the keys are
// those of the key file, one a line, the first active; the file is made with a
// fresh key, with mode 0600, when there is none. When both are there, the
// file's keys open but do not seal, so that one can move from the file to the
// variable.
//
// A key that is not 32 bytes in base64 is an error with code invalid_request
// that never shows the key. A key file that others can read is used, with a
// warning in [Sealer.Warnings].
func LoadOrCreate(dataDir, fromEnv string) (*Sealer, error) {
	path := filepath.Join(dataDir, KeyFile)
	var keys [][]byte
	if strings.TrimSpace(fromEnv) != "" {
		for i, text := range strings.Split(fromEnv, ",") {
			k, err := parseKey(text)
			if err != nil {
				return nil, syncline.Errorf(syncline.CodeInvalid, "%s: key %d of %d %w", EnvVar, i+1, strings.Count(fromEnv, ",")+1, err).
					WithHint("make one with: head -c 32 /dev/urandom | base64").WithField(EnvVar)
			}
			keys = append(keys, k)
		}
	}
	fileKeys, warnings, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) && len(keys) == 0 {
		if err := createKeyFile(path); err != nil {
			return nil, syncline.Errorf(syncline.CodeUnavailable, "secret: make the key file %s: %w", path, err).
				WithHint("make the data directory writable, or set %s", EnvVar)
		}
		fileKeys, warnings, err = readKeyFile(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s, err := New(append(keys, fileKeys...)...)
	if err != nil {
		return nil, err
	}
	s.warnings = warnings
	return s, nil
}

// parseKey reads one key. The error says what is wrong, not what was read.
func parseKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, errors.New("is empty")
	}
	// Both alphabets, padded or not: keys are copied from many tools.
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	k, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("is not base64")
	}
	if len(k) != KeySize {
		return nil, fmt.Errorf("has %d bytes, not %d", len(k), KeySize)
	}
	return k, nil
}

func readKeyFile(path string) (keys [][]byte, warnings []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		return nil, nil, syncline.Errorf(syncline.CodeUnavailable, "secret: read the key file: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, syncline.Errorf(syncline.CodeUnavailable, "secret: read the key file: %w", err)
	}
	// Mounted secrets often cannot have mode 0600, so this is no error.
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		warnings = append(warnings, fmt.Sprintf("the key file %s can be read by other users of this machine (mode %04o); run: chmod 600 %s", path, mode, path))
	}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := parseKey(line)
		if err != nil {
			return nil, nil, syncline.Errorf(syncline.CodeInvalid, "key file %s: line %d %w", path, n, err).
				WithHint("restore the file from a backup; without its keys the stored secrets cannot be read")
		}
		keys = append(keys, k)
	}
	if err := lines.Err(); err != nil {
		return nil, nil, syncline.Errorf(syncline.CodeUnavailable, "secret: read the key file %s: %w", path, err)
	}
	if len(keys) == 0 {
		return nil, nil, syncline.Errorf(syncline.CodeInvalid, "key file %s holds no key", path).
			WithHint("restore the file from a backup, or delete it if nothing was sealed with it")
	}
	return keys, warnings, nil
}

// createKeyFile makes the key file whole or not at all, and durable: what is
// sealed with a key that a power cut took away is lost. When another process
// makes the file at the same time, that one stays.
func createKeyFile(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var key [KeySize]byte
	if _, err := rand.Read(key[:]); err != nil {
		return err
	}
	var text bytes.Buffer
	text.WriteString("# Seals the secrets in this directory's database. Keep a copy: without it they cannot be read.\n")
	text.WriteString(base64.StdEncoding.EncodeToString(key[:]) + "\n")

	tmp, err := os.CreateTemp(dir, KeyFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(text.Bytes())
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	// A link, unlike a rename, fails when the name is taken.
	switch err := os.Link(tmp.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		// Some file systems have no links. A rename is as whole; two first
		// starts at once are kept apart by the lock on the data directory.
		if err := os.Rename(tmp.Name(), path); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
