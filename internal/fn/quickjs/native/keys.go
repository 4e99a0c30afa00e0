package native

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

// key is an asymmetric key as the JavaScript side keeps it: DER in base64, PKCS #8
// of private keys and SPKI of public ones.
type key struct {
	Type  string `json:"type"` // "private" or "public"
	Kind  string `json:"kind"` // "rsa", "ec" or "ed25519"
	Curve string `json:"curve,omitempty"`
	Bits  int    `json:"bits,omitempty"`
	DER   []byte `json:"der"`
}

// keyInput is a key as a function has it.
type keyInput struct {
	PEM  string          `json:"pem"`
	DER  []byte          `json:"der"`
	JWK  json.RawMessage `json:"jwk"`
	Want string          `json:"want"` // "private", "public" or "" for either
}

var errEncrypted = errors.New("keys with a passphrase are not offered; decrypt the key first, or run the function on Node (engine: 'node')")

// readKey reads a key in any of the usual forms.
func readKey(in keyInput) (any, error) {
	switch {
	case len(in.JWK) > 0:
		return readJWK(in.JWK)
	case in.PEM != "":
		for rest := []byte(in.PEM); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				return nil, errors.New("the key is not in PEM: it begins with -----BEGIN … KEY-----, and its lines end with line breaks")
			}
			switch block.Type {
			case "ENCRYPTED PRIVATE KEY":
				return nil, errEncrypted
			case "EC PARAMETERS":
				continue
			}
			if block.Headers["DEK-Info"] != "" {
				return nil, errEncrypted
			}
			return readDER(block.Bytes)
		}
	default:
		return readDER(in.DER)
	}
}

func readDER(der []byte) (any, error) {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParsePKIXPublicKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return k, nil
	}
	if c, err := x509.ParseCertificate(der); err == nil {
		return c.PublicKey, nil
	}
	return nil, errors.New("the key cannot be read: it is none of PKCS #8, PKCS #1, SEC 1, SPKI and X.509")
}

// describeKey makes the form that is kept, of the public half when that is wanted.
func describeKey(k any, want string) (*key, error) {
	if private, ok := k.(crypto.Signer); ok && want == "public" {
		k = private.Public()
	}
	out := &key{Type: "public"}
	var err error
	switch k := k.(type) {
	case *rsa.PrivateKey:
		out.Type, out.Kind, out.Bits = "private", "rsa", k.N.BitLen()
	case *rsa.PublicKey:
		out.Kind, out.Bits = "rsa", k.N.BitLen()
	case *ecdsa.PrivateKey:
		out.Type, out.Kind, out.Curve = "private", "ec", curveName(k.Curve)
	case *ecdsa.PublicKey:
		out.Kind, out.Curve = "ec", curveName(k.Curve)
	case ed25519.PrivateKey:
		out.Type, out.Kind = "private", "ed25519"
	case ed25519.PublicKey:
		out.Kind = "ed25519"
	default:
		return nil, fmt.Errorf("keys of the kind %T are not offered", k)
	}
	if want == "private" && out.Type != "private" {
		return nil, errors.New("the key is a public one, and a private one is needed")
	}
	if out.Type == "private" {
		out.DER, err = x509.MarshalPKCS8PrivateKey(k)
	} else {
		out.DER, err = x509.MarshalPKIXPublicKey(k)
	}
	return out, err
}

// curves are the elliptic curves by the names of OpenSSL and of JSON Web Keys.
var curves = []struct {
	node, jwk string
	curve     elliptic.Curve
}{
	{"prime256v1", "P-256", elliptic.P256()},
	{"secp384r1", "P-384", elliptic.P384()},
	{"secp521r1", "P-521", elliptic.P521()},
	{"secp224r1", "P-224", elliptic.P224()},
}

func curveName(c elliptic.Curve) string {
	for _, known := range curves {
		if known.curve == c {
			return known.node
		}
	}
	return c.Params().Name
}

// jwk is a JSON Web Key (RFC 7518, RFC 8037).
type jwk struct {
	Kty string `json:"kty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	Crv string `json:"crv,omitempty"`
	D   string `json:"d,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
	P   string `json:"p,omitempty"`
	Q   string `json:"q,omitempty"`
	DP  string `json:"dp,omitempty"`
	DQ  string `json:"dq,omitempty"`
	QI  string `json:"qi,omitempty"`
}

func readJWK(text json.RawMessage) (any, error) {
	var j jwk
	if err := json.Unmarshal(text, &j); err != nil {
		return nil, fmt.Errorf("the JSON Web Key cannot be read: %w", err)
	}
	var bad error
	bytes := func(name, s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if (err != nil || len(b) == 0) && bad == nil {
			bad = fmt.Errorf("the member %q of the JSON Web Key is not base64url", name)
		}
		return b
	}
	number := func(name, s string) *big.Int { return new(big.Int).SetBytes(bytes(name, s)) }
	switch j.Kty {
	case "RSA":
		e := number("e", j.E)
		public := rsa.PublicKey{N: number("n", j.N), E: int(e.Int64())}
		if bad != nil || !e.IsInt64() || e.Int64() > 1<<31-1 || j.D == "" {
			return &public, bad
		}
		private := &rsa.PrivateKey{PublicKey: public, D: number("d", j.D), Primes: []*big.Int{number("p", j.P), number("q", j.Q)}}
		if bad != nil {
			return nil, bad
		}
		if err := private.Validate(); err != nil {
			return nil, fmt.Errorf("the JSON Web Key is not a valid RSA key: %w", err)
		}
		private.Precompute()
		return private, nil
	case "EC":
		for _, known := range curves {
			if known.jwk != j.Crv {
				continue
			}
			size := (known.curve.Params().BitSize + 7) / 8
			if j.D != "" {
				d := bytes("d", j.D)
				if bad != nil {
					return nil, bad
				}
				return ecdsa.ParseRawPrivateKey(known.curve, d)
			}
			point := make([]byte, 1+2*size)
			point[0] = 4
			x, y := bytes("x", j.X), bytes("y", j.Y)
			if bad != nil {
				return nil, bad
			}
			if len(x) > size || len(y) > size {
				return nil, errors.New("the coordinates of the JSON Web Key are too long for its curve")
			}
			copy(point[1+size-len(x):], x)
			copy(point[1+2*size-len(y):], y)
			return ecdsa.ParseUncompressedPublicKey(known.curve, point)
		}
	case "OKP":
		if j.Crv != "Ed25519" {
			break
		}
		if j.D != "" {
			d := bytes("d", j.D)
			if bad != nil || len(d) != ed25519.SeedSize {
				return nil, errors.Join(bad, errors.New("the JSON Web Key is not an Ed25519 key"))
			}
			return ed25519.NewKeyFromSeed(d), nil
		}
		x := bytes("x", j.X)
		if bad != nil || len(x) != ed25519.PublicKeySize {
			return nil, errors.Join(bad, errors.New("the JSON Web Key is not an Ed25519 key"))
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, fmt.Errorf("JSON Web Keys of kty %q, crv %q are not offered", j.Kty, j.Crv)
}

// exported is a key in a form that leaves the module.
type exported struct {
	PEM string `json:"pem,omitempty"`
	DER []byte `json:"der,omitempty"`
	JWK *jwk   `json:"jwk,omitempty"`
}

func exportKey(k any, format, kind string) (*exported, error) {
	if format == "jwk" {
		j, err := writeJWK(k)
		return &exported{JWK: j}, err
	}
	var der []byte
	var err error
	label := ""
	switch k := k.(type) {
	case crypto.Signer:
		switch kind {
		case "pkcs8", "":
			label = "PRIVATE KEY"
			der, err = x509.MarshalPKCS8PrivateKey(k)
		case "pkcs1":
			if r, ok := k.(*rsa.PrivateKey); ok {
				label, der = "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r)
			}
		case "sec1":
			if e, ok := k.(*ecdsa.PrivateKey); ok {
				label = "EC PRIVATE KEY"
				der, err = x509.MarshalECPrivateKey(e)
			}
		}
	default:
		switch kind {
		case "spki", "":
			label = "PUBLIC KEY"
			der, err = x509.MarshalPKIXPublicKey(k)
		case "pkcs1":
			if r, ok := k.(*rsa.PublicKey); ok {
				label, der = "RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(r)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if label == "" {
		return nil, fmt.Errorf("the key cannot be exported as %s", kind)
	}
	if format == "der" {
		return &exported{DER: der}, nil
	}
	return &exported{PEM: string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))}, nil
}

func writeJWK(k any) (*jwk, error) {
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := k.(type) {
	case *rsa.PublicKey:
		return &jwk{Kty: "RSA", N: b64(k.N.Bytes()), E: b64(big.NewInt(int64(k.E)).Bytes())}, nil
	case *rsa.PrivateKey:
		if len(k.Primes) != 2 {
			return nil, errors.New("RSA keys of more than two primes are not offered")
		}
		k.Precompute()
		return &jwk{
			Kty: "RSA", N: b64(k.N.Bytes()), E: b64(big.NewInt(int64(k.E)).Bytes()), D: b64(k.D.Bytes()), P: b64(k.Primes[0].Bytes()), Q: b64(k.Primes[1].Bytes()),
			DP: b64(k.Precomputed.Dp.Bytes()), DQ: b64(k.Precomputed.Dq.Bytes()), QI: b64(k.Precomputed.Qinv.Bytes()),
		}, nil
	case *ecdsa.PrivateKey:
		j, err := writeJWK(&k.PublicKey)
		if err != nil {
			return nil, err
		}
		d, err := k.Bytes()
		j.D = b64(d)
		return j, err
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			return nil, err
		}
		size := (len(point) - 1) / 2
		for _, known := range curves {
			if known.curve == k.Curve {
				return &jwk{Kty: "EC", Crv: known.jwk, X: b64(point[1 : 1+size]), Y: b64(point[1+size:])}, nil
			}
		}
	case ed25519.PublicKey:
		return &jwk{Kty: "OKP", Crv: "Ed25519", X: b64(k)}, nil
	case ed25519.PrivateKey:
		return &jwk{Kty: "OKP", Crv: "Ed25519", X: b64(k.Public().(ed25519.PublicKey)), D: b64(k.Seed())}, nil
	}
	return nil, fmt.Errorf("keys of the kind %T cannot be exported as JSON Web Keys", k)
}
