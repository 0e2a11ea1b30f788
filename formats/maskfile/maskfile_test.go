package maskfile_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	library "github.com/nlpodyssey/safetensors"
	"pgregory.net/rapid"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/masks"
)

// exampleSet is the set of docs/mask-format.md with two more masks: one whose
// rows have no padding, and a part.
func exampleSet(t testing.TB) *masks.Set {
	t.Helper()
	s, err := masks.ParseSparsity("0.75")
	if err != nil {
		t.Fatal(err)
	}
	set, err := masks.Random([]masks.Target{
		{Name: "w", Out: 4, In: 11},
		{Name: "h.0.mlp.c_fc.weight", Out: 3, In: 16},
		{Name: "h.0.attn.c_attn.weight", Part: "q", Out: 5, In: 5},
	}, s, 7)
	if err != nil {
		t.Fatal(err)
	}
	set.Parameters = 500
	return set
}

func encode(t testing.TB, s *masks.Set) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := maskfile.WriteTo(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readBytes reads a mask file of the given content.
func readBytes(t testing.TB, content []byte) (*masks.Set, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.safetensors")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return maskfile.Read(path)
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	want := exampleSet(t)
	if err := maskfile.Write(path, false, want); err != nil {
		t.Fatal(err)
	}
	got, err := maskfile.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := maskfile.Write(path, false, want); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an existing file: %v, want fs.ErrExist", err)
	}
	if err := maskfile.Write(path, true, want); err != nil {
		t.Errorf("over an existing file, forced: %v", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content, encode(t, got)) {
		t.Error("what was read is written in other bytes")
	}
}

func TestRoundTripAny(t *testing.T) {
	dir := t.TempDir()
	text := rapid.StringMatching(`[ -~é語]{0,8}`)
	name := rapid.StringMatching(`[ -"$-~é語]{1,8}`)
	rapid.Check(t, func(t *rapid.T) {
		var list []*masks.Mask
		seen := map[string]bool{}
		for range rapid.IntRange(1, 5).Draw(t, "masks") {
			m := masks.New(name.Draw(t, "name"), "", rapid.IntRange(1, 9).Draw(t, "out"), rapid.IntRange(1, 20).Draw(t, "in"))
			if rapid.Bool().Draw(t, "part?") {
				m.Part = name.Draw(t, "part")
			}
			for i := range m.Out {
				for j := range m.In {
					m.Put(i, j, rapid.Bool().Draw(t, "keep"))
				}
			}
			if !seen[m.Key()] {
				seen[m.Key()] = true
				list = append(list, m)
			}
		}
		recipe := masks.Recipe{
			Method:       text.Draw(t, "method"),
			Distribution: text.Draw(t, "distribution"),
			Pattern:      text.Draw(t, "pattern"),
			Scope:        text.Draw(t, "scope"),
			Compat:       text.Draw(t, "compat"),
			Generator:    text.Draw(t, "generator"),
			Sparsity:     rapid.SampledFrom([]string{"", "0.75", "2/3", "1e-3"}).Draw(t, "sparsity"),
			Seed:         rapid.Uint64().Draw(t, "seed"),
			Parent:       rapid.SampledFrom([]string{"", strings.Repeat("0f", 32)}).Draw(t, "parent"),
		}
		want, err := masks.NewSet(list, recipe, rapid.SampledFrom([]int{0, 1 << 40}).Draw(t, "parameters"))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "m.safetensors")
		if err := maskfile.Write(path, true, want); err != nil {
			t.Fatal(err)
		}
		got, err := maskfile.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// goldenDigest is the SHA-256 of the file of exampleSet: its bytes, header
// included, are the same on every machine and for ever.
const goldenDigest = "8820ae1676bbd9b864534538f4505f297f36d90f2ea19427931454cc42603f3c"

func TestGoldenBytes(t *testing.T) {
	content := encode(t, exampleSet(t))
	sum := sha256.Sum256(content)
	if got := hex.EncodeToString(sum[:]); got != goldenDigest {
		t.Errorf("SHA-256 of the file is %s, want %s\n%q", got, goldenDigest, content)
	}
}

// The file printed in docs/mask-format.md.
func TestWorkedExample(t *testing.T) {
	s, err := masks.ParseSparsity("0.75")
	if err != nil {
		t.Fatal(err)
	}
	set, err := masks.Random([]masks.Target{{Name: "w", Out: 4, In: 11}}, s, 7)
	if err != nil {
		t.Fatal(err)
	}
	const want = "61a7dee55a37c34fcd43df6d3b6977b91f16abfe1d2dc52e9ab8024a63bb5def"
	sum := sha256.Sum256(encode(t, set))
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("SHA-256 of the file is %s, want %s", got, want)
	}
}

// Any loader of safetensors opens the file and sees the bits.
func TestOtherLoader(t *testing.T) {
	set := exampleSet(t)
	st, err := library.Deserialize(encode(t, set))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range set.Masks {
		view, ok := st.Tensor(m.Key())
		if !ok || view.DType() != library.U8 || !slices.Equal(view.Shape(), []uint64{uint64(m.Out), uint64(m.Stride())}) || !bytes.Equal(view.Data(), m.Bits) {
			t.Errorf("%q: %v, %v", m.Key(), ok, view)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, c := range []struct {
		what  string
		spoil func(*masks.Set)
	}{
		{"no masks", func(s *masks.Set) { s.Masks = nil }},
		{"padding", func(s *masks.Set) { s.Find("w", "").Bits[1] |= 0x80 }},
		{"short bits", func(s *masks.Set) { s.Masks[0].Bits = nil }},
		{"out of order", func(s *masks.Set) { slices.Reverse(s.Masks) }},
		{"name", func(s *masks.Set) { s.Find("w", "").Name = "__metadata__" }},
		{"sparsity", func(s *masks.Set) { s.Recipe.Sparsity = "75" }},
		{"escape", func(s *masks.Set) { s.Recipe.Method = "\x1b[2J" }},
		{"parent", func(s *masks.Set) { s.Recipe.Parent = "0F" }},
		{"parameters", func(s *masks.Set) { s.Parameters = 1 }},
	} {
		set := exampleSet(t)
		c.spoil(set)
		path := filepath.Join(t.TempDir(), "m.safetensors")
		if err := maskfile.Write(path, false, set); err == nil {
			t.Errorf("%s: no error", c.what)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: left a file", c.what)
		}
	}
}

// Every flipped bit and every cut is found; there is no byte that does not
// matter.
func TestDamageIsFound(t *testing.T) {
	content := encode(t, exampleSet(t))
	path := filepath.Join(t.TempDir(), "m.safetensors")
	for at := range content {
		for bit := range 8 {
			if testing.Short() && bit != at%8 {
				continue
			}
			damaged := bytes.Clone(content)
			damaged[at] ^= 1 << bit
			if err := os.WriteFile(path, damaged, 0o644); err != nil {
				t.Fatal(err)
			}
			set, err := maskfile.Read(path)
			if err == nil {
				t.Errorf("byte %d (%q), bit %d: not found; equal content: %v", at, content[at], bit, bytes.Equal(encode(t, set), content))
			}
		}
	}
	for n := range content {
		if err := os.WriteFile(path, content[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := maskfile.Read(path); err == nil {
			t.Errorf("cut to %d of %d bytes: not found", n, len(content))
		}
	}
}

// parts are the pieces of a mask file, to be changed and put together again.
type parts struct {
	metadata map[string]string
	tensors  []safetensors.Tensor
	keepHash bool // do not hash the changed document
}

func (p *parts) document(t testing.TB, change func(map[string]any)) {
	t.Helper()
	var d map[string]any
	dec := json.NewDecoder(strings.NewReader(p.metadata["spdf.mask"]))
	dec.UseNumber()
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	change(d)
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	p.metadata["spdf.mask"] = string(text)
}

func (p *parts) replace(t testing.TB, old, new string) {
	t.Helper()
	before := p.metadata["spdf.mask"]
	p.metadata["spdf.mask"] = strings.Replace(before, old, new, 1)
	if p.metadata["spdf.mask"] == before {
		t.Fatalf("%q is not in %s", old, before)
	}
}

func takeApart(t testing.TB, content []byte) *parts {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.safetensors")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := &parts{metadata: f.Metadata()}
	for _, info := range f.Infos() {
		data, err := f.Bytes(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		p.tensors = append(p.tensors, safetensors.Bytes(info.Name, info.DType, info.Shape, bytes.Clone(data)))
	}
	return p
}

func (p *parts) file(t testing.TB) []byte {
	t.Helper()
	if _, ok := p.metadata["spdf.mask_sha256"]; ok && !p.keepHash {
		sum := sha256.Sum256([]byte(p.metadata["spdf.mask"]))
		p.metadata["spdf.mask_sha256"] = hex.EncodeToString(sum[:])
	}
	var b bytes.Buffer
	if err := safetensors.Write(&b, p.tensors, p.metadata); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func first(d map[string]any) map[string]any { return d["tensors"].([]any)[0].(map[string]any) }

func TestReadRefuses(t *testing.T) {
	type class int
	const (
		format class = iota
		mismatch
		unsupported
	)
	for _, c := range []struct {
		what  string
		class class
		spoil func(*parts)
		want  string // part of the message
	}{
		{"no metadata", format, func(p *parts) { p.metadata = nil }, `lack "spdf.format"`},
		{"another format", format, func(p *parts) { p.metadata["spdf.format"] = "pt" }, `spdf.format is "pt"`},
		{"version 2", unsupported, func(p *parts) { p.metadata["spdf.format"] = "spdf-mask-2" }, `version is "2"`},
		{"version 01", unsupported, func(p *parts) { p.metadata["spdf.format"] = "spdf-mask-01" }, `version is "01"`},
		{"msb first", unsupported, func(p *parts) { p.metadata["spdf.bit_order"] = "msb-first" }, `bit_order is "msb-first"`},
		{"no document", format, func(p *parts) { delete(p.metadata, "spdf.mask") }, `lack "spdf.mask"`},
		{"no hash", mismatch, func(p *parts) { delete(p.metadata, "spdf.mask_sha256") }, `SHA-256 of spdf.mask`},
		{"other document", mismatch, func(p *parts) { p.keepHash = true; p.replace(t, "random", "Random") }, `SHA-256 of spdf.mask`},
		{"upper-case hash", mismatch, func(p *parts) {
			p.keepHash = true
			p.metadata["spdf.mask_sha256"] = strings.ToUpper(p.metadata["spdf.mask_sha256"])
		}, `SHA-256 of spdf.mask`},
		{"our key, unknown", format, func(p *parts) { p.metadata["spdf.more"] = "" }, `unknown key "spdf.more"`},

		{"not JSON", format, func(p *parts) { p.metadata["spdf.mask"] = "{" }, `metadata`},
		{"empty document", format, func(p *parts) { p.metadata["spdf.mask"] = "" }, `metadata`},
		{"array", format, func(p *parts) { p.metadata["spdf.mask"] = "[]" }, `"{" is wanted`},
		{"two documents", format, func(p *parts) { p.metadata["spdf.mask"] += "{}" }, `go on after`},
		{"deep nesting", format, func(p *parts) { p.metadata["spdf.mask"] = strings.Repeat(`{"tensors":[`, 1000) }, `metadata`},
		{"key missing", format, func(p *parts) { p.document(t, func(d map[string]any) { delete(d, "scope") }) }, `lack the key "scope"`},
		{"key twice", format, func(p *parts) { p.replace(t, `"scope"`, `"scope":"layer","scope"`) }, `key "scope" twice`},
		{"key in another case", format, func(p *parts) { p.replace(t, `"scope"`, `"Scope"`) }, `"Scope"`},
		{"key unknown", format, func(p *parts) { p.document(t, func(d map[string]any) { d["more"] = 1 }) }, `key "more"`},
		{"entry key missing", format, func(p *parts) { p.document(t, func(d map[string]any) { delete(first(d), "kept") }) }, `lack the key "kept"`},
		{"entry key twice", format, func(p *parts) { p.replace(t, `"part":"q"`, `"part":"q","part":"q"`) }, `key "part" twice`},
		{"null", format, func(p *parts) { p.document(t, func(d map[string]any) { d["method"] = nil }) }, `a string or a number`},
		{"null entry", format, func(p *parts) { p.document(t, func(d map[string]any) { d["tensors"] = []any{nil} }) }, `"{" is wanted`},
		{"wrong type", format, func(p *parts) { p.document(t, func(d map[string]any) { d["kept"] = "1" }) }, `metadata: json`},
		{"fraction", format, func(p *parts) { p.document(t, func(d map[string]any) { d["kept"] = 1.5 }) }, `metadata: json`},
		{"huge number", format, func(p *parts) { p.document(t, func(d map[string]any) { d["total"] = json.Number("1e999") }) }, `metadata`},
		{"shape of 3", format, func(p *parts) { p.document(t, func(d map[string]any) { first(d)["shape"] = []int{1, 5, 5} }) }, `shape of 3`},
		{"shape of 1", format, func(p *parts) { p.document(t, func(d map[string]any) { first(d)["shape"] = []int{5} }) }, `shape of 1`},
		{"shape of nothing", format, func(p *parts) { p.document(t, func(d map[string]any) { first(d)["shape"] = []int{0, 5} }) }, `shape (0, 5)`},
		{"negative shape", format, func(p *parts) { p.document(t, func(d map[string]any) { first(d)["shape"] = []int{5, -5} }) }, `shape (5, -5)`},
		{"overflowing shape", format, func(p *parts) {
			p.document(t, func(d map[string]any) { first(d)["shape"] = []int{math.MaxInt, math.MaxInt} })
		}, `shape (9223372036854775807, 9223372036854775807)`},
		{"other shape", format, func(p *parts) { p.document(t, func(d map[string]any) { first(d)["shape"] = []int{5, 9} }) }, `needs U8 (5, 2)`},
		{"version inside", format, func(p *parts) { p.document(t, func(d map[string]any) { d["format_version"] = 2 }) }, `format_version is 2`},
		{"negative seed", format, func(p *parts) { p.document(t, func(d map[string]any) { d["seed"] = "-1" }) }, `seed is "-1"`},
		{"seed with zeros", format, func(p *parts) { p.document(t, func(d map[string]any) { d["seed"] = "007" }) }, `seed is "007"`},
		{"seed past 2^64", format, func(p *parts) { p.document(t, func(d map[string]any) { d["seed"] = "18446744073709551616" }) }, `seed is`},
		{"sparsity out of range", format, func(p *parts) { p.document(t, func(d map[string]any) { d["sparsity"] = "75" }) }, `outside [0, 1)`},
		{"too few parameters", format, func(p *parts) { p.document(t, func(d map[string]any) { d["parameters"] = 1 }) }, `1 parameters`},
		{"escape sequence", format, func(p *parts) { p.document(t, func(d map[string]any) { d["method"] = "\x1b[2J" }) }, `not plain text`},
		{"bad parent", format, func(p *parts) { p.document(t, func(d map[string]any) { d["parent_sha256"] = "abc" }) }, `parent`},

		{"tensor missing", format, func(p *parts) { p.tensors = p.tensors[1:] }, `2 tensors, the metadata describe 3`},
		{"tensor too many", format, func(p *parts) {
			p.tensors = append(p.tensors, safetensors.Bytes("more", formats.U8, []int{1, 1}, []byte{0}))
		}, `4 tensors, the metadata describe 3`},
		{"tensor renamed", format, func(p *parts) { p.tensors[0].Name += "x" }, `tensor is missing`},
		{"entry twice", format, func(p *parts) {
			p.document(t, func(d map[string]any) {
				list := d["tensors"].([]any)
				list[1] = list[0]
				d["kept"], d["total"] = 23, 94
			})
		}, `two masks of one matrix`},
		{"no tensors", format, func(p *parts) {
			p.tensors = nil
			p.document(t, func(d map[string]any) { d["tensors"], d["kept"], d["total"] = []any{}, 0, 0 })
		}, `without masks`},
		{"dtype", format, func(p *parts) { p.tensors[0].DType = formats.I8 }, `tensor is I8`},
		{"rank", format, func(p *parts) { p.tensors[0].Shape = append(p.tensors[0].Shape, 1) }, `tensor is U8`},

		{"tensor hash", mismatch, func(p *parts) {
			p.document(t, func(d map[string]any) { first(d)["sha256"] = strings.Repeat("0", 64) })
		}, `SHA-256 is`},
		{"tensor kept", mismatch, func(p *parts) { p.document(t, func(d map[string]any) { first(d)["kept"] = 5 }) }, `kept is 6, the file says 5`},
		{"kept", mismatch, func(p *parts) { p.document(t, func(d map[string]any) { d["kept"] = 1 }) }, `kept is 29, the file says 1`},
		{"total", mismatch, func(p *parts) { p.document(t, func(d map[string]any) { d["total"] = 118 }) }, `total is 117, the file says 118`},
		{"realised sparsity", mismatch, func(p *parts) { p.document(t, func(d map[string]any) { d["realised_sparsity"] = 0.75 }) }, `realised_sparsity is`},
	} {
		p := takeApart(t, encode(t, exampleSet(t)))
		c.spoil(p)
		_, err := readBytes(t, p.file(t))
		var (
			isFormat   *maskfile.FormatError
			isMismatch *maskfile.MismatchError
		)
		got := map[class]bool{format: errors.As(err, &isFormat), mismatch: errors.As(err, &isMismatch), unsupported: errors.Is(err, maskfile.ErrUnsupported)}
		if want := map[class]bool{format: false, mismatch: false, unsupported: false}; true {
			want[c.class] = true
			if !cmp.Equal(got, want) {
				t.Errorf("%s: %v has the wrong type", c.what, err)
			}
		}
		if err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.what, err, c.want)
		}
	}
}

// A file that another tool wrote: other order, other spacing, metadata of its own.
func TestReadForeign(t *testing.T) {
	want := exampleSet(t)
	p := takeApart(t, encode(t, want))
	slices.Reverse(p.tensors)
	p.metadata["format"] = "pt"
	p.document(t, func(d map[string]any) { slices.Reverse(d["tensors"].([]any)) }) // and keys in alphabetical order
	p.metadata["spdf.mask"] = strings.ReplaceAll(p.metadata["spdf.mask"], `,"`, `, "`)
	got, err := readBytes(t, p.file(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.safetensors")
	if _, err := maskfile.Read(path); !errors.Is(err, fs.ErrNotExist) || strings.Count(err.Error(), "none") != 1 {
		t.Errorf("missing file: %v", err)
	}
	for _, content := range [][]byte{nil, {0}, bytes.Repeat([]byte{0xff}, 64), []byte("\x02\x00\x00\x00\x00\x00\x00\x00{}")} {
		var format *maskfile.FormatError
		if _, err := readBytes(t, content); !errors.As(err, &format) || strings.Count(err.Error(), "m.safetensors") != 1 {
			t.Errorf("%q: %v, want a FormatError that names the file once", content, err)
		}
	}
}

// parse, write, parse: what is read is written in bytes that read as the same.
func FuzzMaskfile(f *testing.F) {
	content := encode(f, exampleSet(f))
	f.Add(content)
	f.Add(content[:len(content)-1])
	foreign := takeApart(f, content)
	foreign.metadata["format"] = "pt"
	foreign.document(f, func(d map[string]any) { d["seed"] = "18446744073709551615" })
	f.Add(foreign.file(f))
	one, err := masks.NewSet([]*masks.Mask{masks.New("a", "b", 1, 1)}, masks.Recipe{}, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encode(f, one))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(dir, fmt.Sprintf("%d.safetensors", os.Getpid()))
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		set, err := maskfile.Read(path)
		if err != nil {
			return
		}
		if err := set.Check(); err != nil {
			t.Fatal(err)
		}
		if err := maskfile.Write(path, true, set); err != nil {
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

// In a file without bits every flipped bit is found too.
func TestProceduralDamageIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	if err := maskfile.WriteProcedural(path, false, exampleSet(t)); err != nil {
		t.Fatal(err)
	}
	set, err := maskfile.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	want := exampleSet(t)
	if diff := cmp.Diff(want, set); diff != "" {
		t.Error(diff)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range content {
		for bit := range 8 {
			if testing.Short() && bit != at%8 {
				continue
			}
			damaged := bytes.Clone(content)
			damaged[at] ^= 1 << bit
			if err := os.WriteFile(path, damaged, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := maskfile.Read(path); err == nil {
				t.Errorf("byte %d (%q), bit %d: not found", at, content[at], bit)
			}
		}
	}
	want.Masks[0].Put(0, 0, !want.Masks[0].Keep(0, 0))
	if err := maskfile.WriteProcedural(path, true, want); err == nil {
		t.Error("a mask that its recipe does not make is written as if it did")
	}
}
