package maskfile_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/masks"
)

// signed returns a signature of the example and the key that checks it.
func signed(t testing.TB) (signature []byte, key ed25519.PublicKey) {
	t.Helper()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	path := filepath.Join(t.TempDir(), "m.sig")
	if err := maskfile.Sign(path, false, exampleSet(t), private); err != nil {
		t.Fatal(err)
	}
	signature, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return signature, private.Public().(ed25519.PublicKey)
}

// In a signature every flipped bit is found, and in what is signed every kept
// or pruned weight and the seed count.
func TestSignatureDamageIsFound(t *testing.T) {
	signature, key := signed(t)
	path := filepath.Join(t.TempDir(), "m.sig")
	verify := func(content []byte, s *masks.Set) error {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		return maskfile.VerifySignature(path, s, key)
	}
	if err := verify(signature, exampleSet(t)); err != nil {
		t.Fatal(err)
	}
	for at := range signature {
		for bit := range 8 {
			damaged := bytes.Clone(signature)
			damaged[at] ^= 1 << bit
			if verify(damaged, exampleSet(t)) == nil {
				t.Errorf("byte %d (%q), bit %d: not found", at, signature[at], bit)
			}
		}
	}
	for i, m := range exampleSet(t).Masks {
		for e := range m.Total() {
			s := exampleSet(t)
			s.Masks[i].Put(e/m.In, e%m.In, !m.Keep(e/m.In, e%m.In))
			if verify(signature, s) == nil {
				t.Errorf("%s: weight %d: not found", m.Key(), e)
			}
		}
	}
	s := exampleSet(t)
	s.Recipe.Seed++
	if verify(signature, s) == nil {
		t.Error("another seed: not found")
	}
}

// No text but the signature itself is one.
func FuzzSignature(f *testing.F) {
	signature, key := signed(f)
	set := exampleSet(f)
	f.Add(signature)
	f.Add(signature[:len(signature)-1])
	f.Add(bytes.ToUpper(signature))
	f.Add([]byte("spdf-mask-signature-1\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(dir, fmt.Sprintf("%d.sig", os.Getpid()))
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		if maskfile.VerifySignature(path, set, key) == nil && !bytes.Equal(bytes.TrimRight(content, "\n"), bytes.TrimRight(signature, "\n")) {
			t.Errorf("%q is accepted", content)
		}
	})
}

// Groups that are read are sparsities in [0, 1) under globs that can be matched.
func FuzzParseGroups(f *testing.F) {
	for _, text := range []string{
		"groups: [{match: 'h.*', sparsity: 0.5}]", "groups:\n- match: '*#v'\n  dense: true\n", "groups: [{match: '[', dense: true}]", "groups: &a [*a]",
		"groups: [{match: a, sparsity: 1e-60}]", "groups: [{match: a, sparsity: 2/3}, {match: b, sparsity: &s 0.5}, {match: c, sparsity: *s}]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		groups, err := maskfile.ParseGroups(text)
		if err != nil {
			return
		}
		for _, g := range groups {
			if _, err := (masks.Target{Name: "h.0", Out: 1, In: 1}).Matches(g.Match); err != nil {
				t.Error(err)
			}
			if kept := g.Sparsity.Kept(100); kept < 0 || kept > 100 {
				t.Errorf("%s keeps %d of 100", g.Sparsity, kept)
			}
		}
	})
}

// A file without bits that is read is written again in bytes that read as the
// same. Shapes of more than four digits are left out: a reader may well spend
// minutes on 2^40 weights.
func FuzzProcedural(f *testing.F) {
	path := filepath.Join(f.TempDir(), "m.safetensors")
	if err := maskfile.WriteProcedural(path, false, exampleSet(f)); err != nil {
		f.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	document := takeApart(f, content).metadata["spdf.mask"]
	f.Add(document)
	for _, change := range [][2]string{
		{`"random"`, `"checkerboard"`}, {`"unstructured"`, `"1:5"`}, {`"unstructured"`, `"block:2x2"`}, {`"layer"`, `"row"`}, {`"seed":"7"`, `"seed":"8"`}, {`[5,5]`, `[1,5]`},
		{`"unstructured"`, `"balanced:column"`},
	} {
		f.Add(string(bytes.Replace([]byte(document), []byte(change[0]), []byte(change[1]), 1)))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, document string) {
		if !utf8.ValidString(document) || len(document) > 1<<12 || hugeNumber(document) {
			return
		}
		p := takeApart(t, content)
		p.metadata["spdf.mask"] = document
		path := filepath.Join(dir, fmt.Sprintf("%d.safetensors", os.Getpid()))
		if err := os.WriteFile(path, p.file(t), 0o644); err != nil {
			t.Fatal(err)
		}
		set, err := maskfile.Read(path)
		if err != nil {
			return
		}
		if err := maskfile.WriteProcedural(path, true, set); err != nil {
			t.Fatal(err)
		}
		again, err := maskfile.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(set, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

// hugeNumber reports whether a text has a run of more than four digits between
// brackets, where shapes stand.
func hugeNumber(text string) bool {
	digits, inside := 0, false
	for _, c := range text {
		switch {
		case c == '[':
			inside, digits = true, 0
		case c == ']':
			inside = false
		case inside && c >= '0' && c <= '9':
			if digits++; digits > 4 {
				return true
			}
		default:
			digits = 0
		}
	}
	return false
}
