package native

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"golang.org/x/crypto/scrypt"
)

// request is the input of a cryptographic operation. Bytes are base64 in JSON.
type request struct {
	Key    keyInput `json:"key"`
	Format string   `json:"format"` // of an export: pem, der, jwk
	Kind   string   `json:"kind"`   // of an export: pkcs1, pkcs8, sec1, spki

	Hash      string `json:"hash"`
	Data      []byte `json:"data"`
	Signature []byte `json:"signature"`
	Padding   string `json:"padding"`  // of RSA: "pkcs1" (default), "pss", "oaep"
	Salt      int    `json:"salt"`     // length of the salt of PSS; -1 is that of the hash, -2 is automatic
	Encoding  string `json:"encoding"` // of ECDSA: "der" (default), "ieee-p1363"
	Label     []byte `json:"label"`    // of OAEP

	Cipher  string `json:"cipher"` // "aes-256-gcm" …
	Secret  []byte `json:"secret"`
	IV      []byte `json:"iv"`
	AAD     []byte `json:"aad"`
	Tag     []byte `json:"tag"`
	TagSize int    `json:"tagSize"`
	Plain   bool   `json:"plain"` // no padding of blocks
	Decrypt bool   `json:"decrypt"`

	SaltBytes  []byte `json:"saltBytes"`
	Info       []byte `json:"info"`
	Iterations int    `json:"iterations"`
	Length     int    `json:"length"`
	N          int    `json:"n"`
	R          int    `json:"r"`
	P          int    `json:"p"`
}

// response is its result.
type response struct {
	Error string    `json:"error,omitempty"`
	Code  string    `json:"code,omitempty"` // Node's, where it has one
	Data  []byte    `json:"data,omitempty"`
	Tag   []byte    `json:"tag,omitempty"`
	OK    bool      `json:"ok,omitempty"`
	Key   *key      `json:"key,omitempty"`
	Out   *exported `json:"out,omitempty"`
}

// Limits of derivations: work that one call may cost, since it cannot be
// interrupted.
const (
	maxDerived    = 1 << 20
	maxIterations = 10_000_000
	maxScrypt     = 1 << 26 // bytes, 128·N·r; Node's default is half of it
)

func cryptography(op, text string) string {
	var in request
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return answer(response{Error: "the input cannot be read: " + err.Error()})
	}
	out, err := perform(op, in)
	if err != nil {
		out.Error = err.Error()
	}
	return answer(out)
}

func perform(op string, in request) (out response, err error) {
	switch op {
	case "key":
		k, err := readKey(in.Key)
		if err != nil {
			return out, err
		}
		out.Key, err = describeKey(k, in.Key.Want)
		return out, err
	case "export":
		k, err := readKey(in.Key)
		if err != nil {
			return out, err
		}
		out.Out, err = exportKey(k, in.Format, in.Kind)
		return out, err
	case "sign":
		out.Data, err = sign(in)
	case "verify":
		out.OK, err = verify(in)
	case "rsa":
		out.Data, err = encryptRSA(in)
	case "cipher":
		return encipher(in)
	case "pbkdf2":
		out.Data, err = derive(in, func(h algorithm) ([]byte, error) {
			if in.Iterations < 1 || in.Iterations > maxIterations {
				return nil, fmt.Errorf("the number of iterations is not between 1 and %d", maxIterations)
			}
			return pbkdf2.Key(h.make, string(in.Secret), in.SaltBytes, in.Iterations, in.Length)
		})
	case "hkdf":
		out.Data, err = derive(in, func(h algorithm) ([]byte, error) {
			return hkdf.Key(h.make, in.Secret, in.SaltBytes, string(in.Info), in.Length)
		})
	case "scrypt":
		if in.N < 2 || in.R < 1 || in.P < 1 || in.N > maxScrypt || in.R > maxScrypt/128/in.N || in.P > 64 {
			return out, fmt.Errorf("the parameters of scrypt need more than %d MiB, or are not valid", maxScrypt>>20)
		}
		in.Hash = "sha256"
		out.Data, err = derive(in, func(algorithm) ([]byte, error) {
			return scrypt.Key(in.Secret, in.SaltBytes, in.N, in.R, in.P, in.Length)
		})
	default:
		err = fmt.Errorf("%s is not offered", op)
	}
	return out, err
}

func derive(in request, do func(algorithm) ([]byte, error)) ([]byte, error) {
	h, ok := hashNamed(in.Hash)
	if !ok {
		return nil, unknownHash(in.Hash)
	}
	if in.Length < 0 || in.Length > maxDerived {
		return nil, fmt.Errorf("the length of the key is not between 0 and %d", maxDerived)
	}
	if in.Length == 0 {
		return []byte{}, nil
	}
	return do(h)
}

func unknownHash(name string) error {
	return fmt.Errorf("the hash %q is not offered; use sha1, sha224, sha256, sha384, sha512, sha3-256, md5 or ripemd160", name)
}

// digestFor is the digest that is signed, and its algorithm.
func digestFor(in request) (crypto.Hash, []byte, error) {
	h, ok := hashNamed(in.Hash)
	if !ok || h.id == 0 {
		return 0, nil, unknownHash(in.Hash)
	}
	w := h.make()
	w.Write(in.Data)
	return h.id, w.Sum(nil), nil
}

func pssOptions(in request) *rsa.PSSOptions {
	switch in.Salt {
	case -1:
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	case -2:
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}
	}
	return &rsa.PSSOptions{SaltLength: in.Salt}
}

func sign(in request) ([]byte, error) {
	k, err := readKey(in.Key)
	if err != nil {
		return nil, err
	}
	if ed, ok := k.(ed25519.PrivateKey); ok {
		return ed25519.Sign(ed, in.Data), nil
	}
	id, sum, err := digestFor(in)
	if err != nil {
		return nil, err
	}
	switch k := k.(type) {
	case *rsa.PrivateKey:
		if in.Padding == "pss" {
			return rsa.SignPSS(rand.Reader, k, id, sum, pssOptions(in))
		}
		return rsa.SignPKCS1v15(rand.Reader, k, id, sum)
	case *ecdsa.PrivateKey:
		der, err := ecdsa.SignASN1(rand.Reader, k, sum)
		if err != nil || in.Encoding != "ieee-p1363" {
			return der, err
		}
		return plainSignature(der, (k.Params().BitSize+7)/8)
	}
	return nil, errors.New("the key is not a private one that can sign")
}

// ecdsaSignature is a signature in ASN.1.
type ecdsaSignature struct{ R, S *big.Int }

func plainSignature(der []byte, size int) ([]byte, error) {
	var s ecdsaSignature
	if _, err := asn1.Unmarshal(der, &s); err != nil {
		return nil, err
	}
	out := make([]byte, 2*size)
	s.R.FillBytes(out[:size])
	s.S.FillBytes(out[size:])
	return out, nil
}

func verify(in request) (bool, error) {
	k, err := readKey(in.Key)
	if err != nil {
		return false, err
	}
	if private, ok := k.(crypto.Signer); ok {
		k = private.Public()
	}
	if ed, ok := k.(ed25519.PublicKey); ok {
		return ed25519.Verify(ed, in.Data, in.Signature), nil
	}
	id, sum, err := digestFor(in)
	if err != nil {
		return false, err
	}
	switch k := k.(type) {
	case *rsa.PublicKey:
		if in.Padding == "pss" {
			return rsa.VerifyPSS(k, id, sum, in.Signature, pssOptions(in)) == nil, nil
		}
		return rsa.VerifyPKCS1v15(k, id, sum, in.Signature) == nil, nil
	case *ecdsa.PublicKey:
		signature := in.Signature
		if in.Encoding == "ieee-p1363" {
			size := (k.Params().BitSize + 7) / 8
			if len(signature) != 2*size {
				return false, nil
			}
			signature, err = asn1.Marshal(ecdsaSignature{new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])})
			if err != nil {
				return false, err
			}
		}
		return ecdsa.VerifyASN1(k, sum, signature), nil
	}
	return false, errors.New("the key cannot verify signatures")
}

func encryptRSA(in request) ([]byte, error) {
	k, err := readKey(in.Key)
	if err != nil {
		return nil, err
	}
	h, ok := hashNamed(in.Hash)
	if !ok {
		return nil, unknownHash(in.Hash)
	}
	if in.Decrypt {
		private, ok := k.(*rsa.PrivateKey)
		if !ok {
			return nil, errors.New("the key is not a private RSA key")
		}
		if in.Padding == "pkcs1" {
			return rsa.DecryptPKCS1v15(rand.Reader, private, in.Data) //nolint:staticcheck // as in Node: APIs choose
		}
		return rsa.DecryptOAEP(h.make(), rand.Reader, private, in.Data, in.Label)
	}
	if private, ok := k.(*rsa.PrivateKey); ok {
		k = &private.PublicKey
	}
	public, ok := k.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("the key is not an RSA key")
	}
	if in.Padding == "pkcs1" {
		return rsa.EncryptPKCS1v15(rand.Reader, public, in.Data) //nolint:staticcheck // as in Node: APIs choose
	}
	return rsa.EncryptOAEP(h.make(), rand.Reader, public, in.Data, in.Label)
}

// encipher runs AES in the modes cbc, ctr, ecb and gcm.
func encipher(in request) (out response, err error) {
	var bits int
	var mode string
	name := strings.ToLower(in.Cipher)
	if _, err := fmt.Sscanf(strings.ReplaceAll(name, "-", " "), "aes %d %s", &bits, &mode); err != nil || (bits != 128 && bits != 192 && bits != 256) {
		return out, fmt.Errorf("the cipher %q is not offered; use aes-128, aes-192 or aes-256 with cbc, ctr, ecb or gcm", in.Cipher)
	}
	if len(in.Secret) != bits/8 {
		out.Code = "ERR_CRYPTO_INVALID_KEYLEN"
		return out, errors.New("Invalid key length")
	}
	block, err := aes.NewCipher(in.Secret)
	if err != nil {
		return out, err
	}
	if size := len(in.IV); mode != "gcm" && mode != "ecb" && size != aes.BlockSize || mode == "gcm" && size == 0 || mode == "ecb" && size != 0 {
		out.Code = "ERR_CRYPTO_INVALID_IV"
		return out, errors.New("Invalid initialization vector")
	}
	switch mode {
	case "gcm":
		return seal(block, in)
	case "ctr":
		out.Data = make([]byte, len(in.Data))
		cipher.NewCTR(block, in.IV).XORKeyStream(out.Data, in.Data)
		return out, nil
	case "cbc", "ecb":
		data := in.Data
		if !in.Decrypt && !in.Plain {
			data = pad(data)
		}
		if len(data)%aes.BlockSize != 0 {
			out.Code = "ERR_OSSL_WRONG_FINAL_BLOCK_LENGTH"
			return out, errors.New("wrong final block length")
		}
		out.Data = make([]byte, len(data))
		switch {
		case mode == "ecb":
			for i := 0; i < len(data); i += aes.BlockSize {
				if in.Decrypt {
					block.Decrypt(out.Data[i:], data[i:])
				} else {
					block.Encrypt(out.Data[i:], data[i:])
				}
			}
		case in.Decrypt:
			cipher.NewCBCDecrypter(block, in.IV).CryptBlocks(out.Data, data)
		default:
			cipher.NewCBCEncrypter(block, in.IV).CryptBlocks(out.Data, data)
		}
		if in.Decrypt && !in.Plain {
			if out.Data, err = unpad(out.Data); err != nil {
				out.Code = "ERR_OSSL_BAD_DECRYPT"
			}
		}
		return out, err
	}
	return out, fmt.Errorf("the mode of the cipher %q is not offered; use cbc, ctr, ecb or gcm", in.Cipher)
}

func seal(block cipher.Block, in request) (out response, err error) {
	size := in.TagSize
	if in.Decrypt {
		size = len(in.Tag)
	}
	var gcm cipher.AEAD
	if len(in.IV) == 12 {
		gcm, err = cipher.NewGCMWithTagSize(block, size)
	} else {
		gcm, err = cipher.NewGCMWithNonceSize(block, len(in.IV))
		if size != 16 {
			err = errors.New("a tag that is not of 16 bytes needs an initialization vector of 12")
		}
	}
	if err != nil {
		return out, err
	}
	if in.Decrypt {
		out.Data, err = gcm.Open(nil, in.IV, append(append([]byte{}, in.Data...), in.Tag...), in.AAD)
		if err != nil {
			err = errors.New("Unsupported state or unable to authenticate data")
		}
		return out, err
	}
	sealed := gcm.Seal(nil, in.IV, in.Data, in.AAD)
	out.Data, out.Tag = sealed[:len(sealed)-size], sealed[len(sealed)-size:]
	return out, nil
}

// pad and unpad are the padding of PKCS #7.
func pad(data []byte) []byte {
	n := aes.BlockSize - len(data)%aes.BlockSize
	out := append([]byte{}, data...)
	for range n {
		out = append(out, byte(n))
	}
	return out
}

func unpad(data []byte) ([]byte, error) {
	if len(data) == 0 {
		return nil, errors.New("bad decrypt")
	}
	n := int(data[len(data)-1])
	if n == 0 || n > aes.BlockSize || n > len(data) {
		return nil, errors.New("bad decrypt")
	}
	for _, b := range data[len(data)-n:] {
		if int(b) != n {
			return nil, errors.New("bad decrypt")
		}
	}
	return data[:len(data)-n], nil
}
