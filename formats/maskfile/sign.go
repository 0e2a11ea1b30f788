package maskfile

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/masks"
)

// SignatureEnd is what is put after the name of a mask file to name its
// signature.
const SignatureEnd = ".sig"

// signatureHead is the first line of a manifest and of a signature.
const signatureHead = "spdf-mask-signature-1"

// maxKeyFile bounds a key and a signature.
const maxKeyFile = 1 << 16

// Manifest returns what is signed: the line spdf-mask-signature-1, then the JSON
// object of the metadata exactly as Write writes it, then a line feed. It says
// every recipe, count and hash, and does not depend on how the bits are stored: a
// procedural file has the same.
func Manifest(s *masks.Set) ([]byte, error) {
	text, err := documentText(s)
	if err != nil {
		return nil, err
	}
	return append([]byte(signatureHead+"\n"+string(text)), '\n'), nil
}

// Sign writes the Ed25519 signature of the manifest of s to path: two lines,
// spdf-mask-signature-1 and the 64 bytes in base64.
func Sign(path string, force bool, s *masks.Set, key ed25519.PrivateKey) error {
	manifest, err := Manifest(s)
	if err != nil {
		return err
	}
	return formats.WriteAtomic(path, force, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s\n%s\n", signatureHead, base64.StdEncoding.EncodeToString(ed25519.Sign(key, manifest)))
		return err
	})
}

// VerifySignature checks the signature at path. It returns a *MismatchError if
// the signature is not that of key over the manifest of s.
func VerifySignature(path string, s *masks.Set, key ed25519.PublicKey) error {
	text, err := readSmall(path)
	if err != nil {
		return err
	}
	head, line, _ := strings.Cut(string(text), "\n")
	signature, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSuffix(line, "\n"))
	if head != signatureHead || err != nil || len(signature) != ed25519.SignatureSize {
		return &FormatError{File: path, Err: fmt.Errorf("is no signature: want the line %s and %d bytes in base64", signatureHead, ed25519.SignatureSize)}
	}
	manifest, err := Manifest(s)
	if err != nil {
		return err
	}
	if !ed25519.Verify(key, manifest, signature) {
		return &MismatchError{File: path, What: "signature", Got: "not valid", Want: "that of key " + hex.EncodeToString(key[:8])}
	}
	return nil
}

func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("maskfile: %w", err)
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("maskfile: %s: %d bytes, limit %d", path, info.Size(), maxKeyFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("maskfile: %w", err)
	}
	return text, nil
}

// ReadPrivateKey reads an Ed25519 key in PEM, as "openssl genpkey -algorithm
// ed25519" writes it.
func ReadPrivateKey(path string) (ed25519.PrivateKey, error) {
	block, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("maskfile: %s: %w", path, err)
	}
	if k, ok := key.(ed25519.PrivateKey); ok {
		return k, nil
	}
	return nil, fmt.Errorf("maskfile: %s: is a key of another kind than Ed25519", path)
}

// ReadPublicKey reads an Ed25519 key in PEM, as "openssl pkey -pubout" writes it;
// a private key stands for its public half.
func ReadPublicKey(path string) (ed25519.PublicKey, error) {
	block, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	if block.Type == "PRIVATE KEY" {
		key, err := ReadPrivateKey(path)
		if err != nil {
			return nil, err
		}
		return key.Public().(ed25519.PublicKey), nil
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("maskfile: %s: %w", path, err)
	}
	if k, ok := key.(ed25519.PublicKey); ok {
		return k, nil
	}
	return nil, fmt.Errorf("maskfile: %s: is a key of another kind than Ed25519", path)
}

func readPEM(path string) (*pem.Block, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("maskfile: %s: is no key in PEM", path)
	}
	return block, nil
}

// documentText returns the JSON object of s as it is written.
func documentText(s *masks.Set) ([]byte, error) {
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("maskfile: %w", err)
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(describe(s)); err != nil {
		return nil, fmt.Errorf("maskfile: %w", err)
	}
	text := strings.TrimSuffix(b.String(), "\n")
	if len(text) > maxDocument {
		return nil, fmt.Errorf("maskfile: metadata are %d bytes, limit %d", len(text), maxDocument)
	}
	return []byte(text), nil
}
