package secret_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"syncline"
	"syncline/internal/secret"
)

func testKey(b byte) []byte { return bytes.Repeat([]byte{b}, secret.KeySize) }

func newSealer(t *testing.T, keys ...[]byte) *secret.Sealer {
	t.Helper()
	s, err := secret.New(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestASealedValueOpensOnlyWhereItWasSealedFor(t *testing.T) {
	t.Parallel()
	s := newSealer(t, testKey(1))
	for _, plain := range []string{"", "x", `{"type":"OAUTH2","access_token":"ya29"}`, strings.Repeat("long", 5000)} {
		sealed, err := s.Seal(7, secret.PurposeConnectionCredentials, []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		if len(plain) > 3 && bytes.Contains(sealed.Data, []byte(plain[:4])) {
			t.Error("the sealed value shows its plain text")
		}
		got, err := s.Open(7, secret.PurposeConnectionCredentials, sealed)
		if err != nil || got == nil || string(got) != plain {
			t.Fatalf("Open = %q, %v; want %q", got, err, plain)
		}
		if _, err := s.Open(8, secret.PurposeConnectionCredentials, sealed); syncline.CodeOf(err) != syncline.CodeInternal {
			t.Errorf("a value of environment 7 opened in environment 8: %v", err)
		}
		if _, err := s.Open(7, secret.PurposeWebhookSecrets, sealed); syncline.CodeOf(err) != syncline.CodeInternal {
			t.Errorf("a value opened for another purpose: %v", err)
		}
	}
}

func TestEqualSecretsSealDifferently(t *testing.T) {
	t.Parallel()
	s := newSealer(t, testKey(1))
	a, _ := s.Seal(1, secret.PurposeSigningKey, []byte("same"))
	b, _ := s.Seal(1, secret.PurposeSigningKey, []byte("same"))
	if bytes.Equal(a.Data, b.Data) {
		t.Error("two values with the same text have the same ciphertext")
	}
}

func TestAChangedValueDoesNotOpen(t *testing.T) {
	t.Parallel()
	s := newSealer(t, testKey(1))
	sealed, err := s.Seal(1, secret.PurposeSigningKey, []byte("signing key"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed.Data {
		bad := bytes.Clone(sealed.Data)
		bad[i] ^= 1
		if _, err := s.Open(1, secret.PurposeSigningKey, syncline.Sealed{KeyID: sealed.KeyID, Data: bad}); err == nil {
			t.Fatalf("a value with byte %d changed opened", i)
		}
	}
	for n := 1; n < len(sealed.Data); n++ {
		if _, err := s.Open(1, secret.PurposeSigningKey, syncline.Sealed{KeyID: sealed.KeyID, Data: sealed.Data[:n]}); err == nil {
			t.Fatalf("a value cut to %d bytes opened", n)
		}
	}
}

func TestNoSecretOpensToNil(t *testing.T) {
	t.Parallel()
	got, err := newSealer(t, testKey(1)).Open(1, secret.PurposeSigningKey, syncline.Sealed{})
	if got != nil || err != nil {
		t.Errorf("Open(zero) = %q, %v; want nil, nil", got, err)
	}
}

func TestAnUnknownKeyIsNamedWithWhatToDo(t *testing.T) {
	t.Parallel()
	old := newSealer(t, testKey(1))
	sealed, _ := old.Seal(1, secret.PurposeSigningKey, []byte("hush"))
	_, err := newSealer(t, testKey(2)).Open(1, secret.PurposeSigningKey, sealed)
	for _, want := range []string{old.ActiveKeyID(), secret.EnvVar, secret.PurposeSigningKey} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %q", err, want)
		}
	}
}

func TestRotationMovesValuesToTheActiveKey(t *testing.T) {
	t.Parallel()
	old := newSealer(t, testKey(1))
	sealed, _ := old.Seal(3, secret.PurposeWebhookSecrets, []byte("whsec"))
	both := newSealer(t, testKey(2), testKey(1))
	moved, changed, err := both.Reseal(3, secret.PurposeWebhookSecrets, sealed)
	if err != nil || !changed || moved.KeyID != both.ActiveKeyID() || moved.KeyID == sealed.KeyID {
		t.Fatalf("Reseal = %+v, %v, %v", moved, changed, err)
	}
	if again, changed, err := both.Reseal(3, secret.PurposeWebhookSecrets, moved); changed || err != nil || !bytes.Equal(again.Data, moved.Data) {
		t.Errorf("resealing a current value changed it: %v, %v", changed, err)
	}
	got, err := newSealer(t, testKey(2)).Open(3, secret.PurposeWebhookSecrets, moved)
	if err != nil || string(got) != "whsec" {
		t.Errorf("after rotation without the old key: %q, %v", got, err)
	}
	if _, _, err := both.Reseal(4, secret.PurposeWebhookSecrets, sealed); err == nil {
		t.Error("a value was resealed for an environment that it does not belong to")
	}
}

func TestKeysFromTheEnvironment(t *testing.T) {
	t.Parallel()
	std := base64.StdEncoding.EncodeToString
	a, b := testKey(0xfb), testKey(0xff)
	for name, tc := range map[string]struct {
		value string
		want  string // part of the error; "" for none
		keys  int
	}{
		"one key":                    {std(a), "", 1},
		"several keys":               {std(a) + "," + std(b), "", 2},
		"spaces around keys":         {" " + std(a) + " , " + std(b) + "\n", "", 2},
		"url alphabet, no padding":   {base64.RawURLEncoding.EncodeToString(a), "", 1},
		"the same key twice":         {std(a) + "," + std(a), "", 1},
		"not base64":                 {"correct horse battery staple", "key 1 of 1 is not base64", 0},
		"too short":                  {std(a[:16]), "has 16 bytes, not 32", 0},
		"too long":                   {std(append(bytes.Clone(a), 1)), "has 33 bytes, not 32", 0},
		"second one wrong":           {std(a) + ",abcd", "key 2 of 2 has 3 bytes", 0},
		"an empty one between":       {std(a) + ",," + std(b), "key 2 of 3 is empty", 0},
		"hex instead of base64 text": {strings.Repeat("ab", 32), "has 48 bytes, not 32", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s, err := secret.LoadOrCreate(dir, tc.value)
			if tc.want != "" {
				if syncline.CodeOf(err) != syncline.CodeInvalid || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), secret.EnvVar) {
					t.Fatalf("error = %v; want one with %q", err, tc.want)
				}
				if strings.Contains(err.Error(), strings.TrimSpace(tc.value)) {
					t.Error("the error shows the key")
				}
				return
			}
			if err != nil || len(s.KeyIDs()) != tc.keys {
				t.Fatalf("LoadOrCreate: %v; %v", s, err)
			}
			if _, err := os.Stat(filepath.Join(dir, secret.KeyFile)); err == nil {
				t.Error("a key file was made although the variable is set")
			}
		})
	}
}

func TestAKeyFileIsMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "data")
	first, err := secret.LoadOrCreate(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, secret.KeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v, %v; want mode 0600", info, err)
	}
	sealed, _ := first.Seal(1, secret.PurposeSigningKey, []byte("kept"))
	second, err := secret.LoadOrCreate(dir, "")
	if err != nil || second.ActiveKeyID() != first.ActiveKeyID() || len(second.Warnings()) != 0 {
		t.Fatalf("second start: %v, warnings %v", err, second.Warnings())
	}
	if got, err := second.Open(1, secret.PurposeSigningKey, sealed); err != nil || string(got) != "kept" {
		t.Errorf("after a restart: %q, %v", got, err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Errorf("left behind in the data directory: %v", entries)
	}

	// Moving to the variable: the file's key still opens, the variable's seals.
	moved, err := secret.LoadOrCreate(dir, base64.StdEncoding.EncodeToString(testKey(9)))
	if err != nil || moved.ActiveKeyID() == first.ActiveKeyID() {
		t.Fatalf("with the variable set: %v", err)
	}
	if got, err := moved.Open(1, secret.PurposeSigningKey, sealed); err != nil || string(got) != "kept" {
		t.Errorf("after moving to the variable: %q, %v", got, err)
	}
}

func TestAKeyFileMadeByManyAtOnceHasOneKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			if s, err := secret.LoadOrCreate(dir, ""); err == nil {
				ids[i] = s.ActiveKeyID()
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("keys differ: %v", ids)
		}
	}
}

func TestAKeyFileThatIsWrong(t *testing.T) {
	t.Parallel()
	good := base64.StdEncoding.EncodeToString(testKey(1))
	for name, tc := range map[string]struct{ text, want string }{
		"empty":         {"", "holds no key"},
		"only comments": {"# nothing\n", "holds no key"},
		"truncated key": {good[:20] + "\n", "line 1"},
		"second broken": {good + "\nrubbish!\n", "line 2 is not base64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, secret.KeyFile), []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := secret.LoadOrCreate(dir, ""); syncline.CodeOf(err) != syncline.CodeInvalid || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v; want %q", err, tc.want)
			}
		})
	}
}

func TestAKeyFileThatOthersCanReadIsWarnedOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, secret.KeyFile)
	if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(testKey(1))), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := secret.LoadOrCreate(dir, "")
	if err != nil || len(s.Warnings()) != 1 || !strings.Contains(s.Warnings()[0], "chmod 600") {
		t.Errorf("warnings = %v, %v", s.Warnings(), err)
	}
}

func TestKeysHandedOut(t *testing.T) {
	t.Parallel()
	a, b := secret.NewAPIKey(), secret.NewAPIKey()
	if a == b || len(a) != 36 || bytes.Equal(secret.HashAPIKey(a), secret.HashAPIKey(b)) || len(secret.HashAPIKey(a)) != 32 {
		t.Errorf("API keys %q, %q", a, b)
	}
	if secret.HintOf(a) != a[32:] || secret.HintOf("short") != "" {
		t.Errorf("hint of %q is %q", a, secret.HintOf(a))
	}
	if !secret.Equal("x", "x") || secret.Equal("x", "y") || secret.Equal("x", "xx") {
		t.Error("Equal is wrong")
	}
}
