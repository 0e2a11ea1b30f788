package convert_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/masks"
)

// bytesOf returns a U8 tensor that counts up from first.
func bytesOf(name string, first byte, shape ...int) safetensors.Tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	data := make([]byte, n)
	for i := range data {
		data[i] = first + byte(i)
	}
	return safetensors.Bytes(name, formats.U8, shape, data)
}

func writeFile(t testing.TB, tensors ...safetensors.Tensor) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.safetensors")
	if err := safetensors.WriteFile(path, false, tensors, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	return path
}

const rules = `
rules:
  - {from: "old.{i}.w", to: "new.{i}.weight"}
  - {from: "t.{n}", to: "turned.{n}", transpose: true}
  - {from: "qkv.{i}", to: ["q.{i}", "k.{i}", "v.{i}"], axis: 1, sizes: [1, 2, 3]}
  - {from: ["a.{i}", "b.{i}"], to: "ab.{i}", transpose: true}
  - {from: "{rest*}.tail", to: "tail.{rest*}"}
`

func TestMap(t *testing.T) {
	in := writeFile(t,
		bytesOf("old.0.w", 1, 2), bytesOf("old.12.w", 2, 2), bytesOf("t.x", 0, 2, 3), bytesOf("qkv.5", 0, 2, 6),
		bytesOf("a.0", 0, 2, 2), bytesOf("b.0", 10, 2, 1), bytesOf("x.y.z.tail", 7, 1))
	m, err := convert.ParseMap([]byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.safetensors")
	run(t, in, out, convert.Options{To: convert.SafeTensors, Map: m})
	got := make(map[string]string)
	for name, h := range read(t, out) {
		got[name] = h.info.String() + " " + string(h.data)
	}
	want := map[string]string{
		"new.0.weight": "U8 (2) \x01\x02", "new.12.weight": "U8 (2) \x02\x03", "turned.x": "U8 (3, 2) \x00\x03\x01\x04\x02\x05",
		"q.5": "U8 (2, 1) \x00\x06", "k.5": "U8 (2, 2) \x01\x02\x07\x08", "v.5": "U8 (2, 3) \x03\x04\x05\x09\x0a\x0b",
		// Each part is turned, then they are put on top of each other.
		"ab.0": "U8 (3, 2) \x00\x02\x01\x03\x0a\x0b", "tail.x.y.z": "U8 (1) \x07",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("tensors (-got +want):\n%s", diff)
	}
	inverse, err := m.Inverse()
	if err == nil {
		t.Error("a rule that joins unequal parts without sizes was inverted")
		run(t, out, filepath.Join(t.TempDir(), "x.safetensors"), convert.Options{To: convert.SafeTensors, Map: inverse})
	}
	whole, err := convert.ParseMap([]byte(strings.Replace(rules, `to: "ab.{i}", `, `to: "ab.{i}", sizes: [2, 1], `, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if inverse, err = whole.Inverse(); err != nil {
		t.Fatal(err)
	}
	back := filepath.Join(t.TempDir(), "back.safetensors")
	run(t, out, back, convert.Options{To: convert.SafeTensors, Map: inverse})
	sameFile(t, back, in)
}

func TestMapMasks(t *testing.T) {
	in := writeFile(t, bytesOf("qkv", 0, 2, 6), bytesOf("t", 0, 2, 3))
	m, err := convert.ParseMap([]byte(`rules: [{from: qkv, to: [q, k, v], axis: 1}, {from: t, to: u, transpose: true}]`))
	if err != nil {
		t.Fatal(err)
	}
	whole, turned := masks.New("qkv", "", 2, 6), masks.New("t", "", 2, 3)
	whole.Put(1, 3, true)
	turned.Put(0, 2, true)
	set := setOf(t, whole, turned)
	p := run(t, in, filepath.Join(t.TempDir(), "out.safetensors"), convert.Options{To: convert.SafeTensors, Map: m, Masks: set})
	kept := make(map[string]int)
	for _, m := range p.Masks.Masks {
		kept[m.Name] = m.Kept()
	}
	if diff := cmp.Diff(kept, map[string]int{"q": 0, "k": 1, "v": 0, "u": 1}); diff != "" {
		t.Errorf("kept (-got +want):\n%s", diff)
	}
	if k, u := p.Masks.Find("k", ""), p.Masks.Find("u", ""); !k.Keep(1, 1) || !u.Keep(2, 0) {
		t.Error("the kept weights are not where they were")
	}
}

func TestMapErrors(t *testing.T) {
	for _, tc := range []struct{ name, rules, want string }{
		{"no rules", `rules: []`, "0 rules"},
		{"unknown key", `rules: [{from: a, to: b, x: 1}]`, "field x not found"},
		{"key twice", `rules: [{from: a, from: b, to: c}]`, "already defined"},
		{"not YAML", `rules: [`, "did not find"},
		{"to missing", `rules: [{from: a}]`, "to is missing"},
		{"many to many", `rules: [{from: [a, b], to: [c, d]}]`, "one side must be one"},
		{"drop with to", `rules: [{from: a, to: b, drop: true}]`, "a drop has"},
		{"placeholders differ", `rules: [{from: "a.{i}", to: "b.{j}"}]`, "placeholders"},
		{"placeholder twice", `rules: [{from: "a.{i}.{i}", to: "b.{i}"}]`, "{i} twice"},
		{"sizes", `rules: [{from: a, to: [b, c], sizes: [1]}]`, "1 sizes for 2 parts"},
		{"negative size", `rules: [{from: a, to: [b, c], sizes: [-1, 4]}]`, "a size is negative"},
		{"negative axis", `rules: [{from: a, to: [b, c], axis: -1}]`, "axis is -1"},
	} {
		if _, err := convert.ParseMap([]byte(tc.rules)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q in it", tc.name, err, tc.want)
		}
	}
	in := writeFile(t, bytesOf("a", 0, 2, 3), bytesOf("b", 0, 3))
	for _, tc := range []struct{ name, rules, want string }{
		{"tensor without a rule", `rules: [{from: a, to: c}]`, `no rule for tensor "b"`},
		{"rule without a tensor", `rules: [{from: a, to: c}, {from: b, to: d}, {from: x, to: y}]`, "fits no tensor"},
		{"part missing", `rules: [{from: [a, x], to: y}, {from: b, to: c}]`, `tensor "x" is missing`},
		{"not equal parts", `rules: [{from: a, to: [x, y], axis: 1}, {from: b, to: c}]`, "does not divide into 2"},
		{"sizes too large", `rules: [{from: a, to: [x, y], axis: 1, sizes: [2, 2]}, {from: b, to: c}]`, "the sizes are [2 2]"},
		{"sizes too small", `rules: [{from: a, to: [x, y], axis: 1, sizes: [1, 1]}, {from: b, to: c}]`, "the sizes are [1 1]"},
		{"axis", `rules: [{from: a, to: [x, y], axis: 2}, {from: b, to: c}]`, "axis is 2"},
		{"turned vector", `rules: [{from: b, to: c, transpose: true}, {from: a, to: d}]`, "only matrices"},
		{"joined ranks", `rules: [{from: [a, b], to: c}]`, "2 and 1 dimensions"},
		{"one name twice", `rules: [{from: a, to: c}, {from: b, to: c}]`, `two tensors would have the name "c"`},
	} {
		m, err := convert.ParseMap([]byte(tc.rules))
		if err != nil {
			t.Fatal(err)
		}
		_, err = attempt(in, filepath.Join(t.TempDir(), "x.safetensors"), convert.Options{To: convert.SafeTensors, Map: m})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q in it", tc.name, err, tc.want)
		}
	}
	drop, err := convert.ParseMap([]byte(`rules: [{from: b, drop: true}, {from: "{x}", to: "y.{x}"}, {from: z, to: y, optional: true}]`))
	if err != nil {
		t.Fatal(err)
	}
	p := run(t, in, filepath.Join(t.TempDir(), "x.safetensors"), convert.Options{To: convert.SafeTensors, Map: drop})
	if len(p.Drops) != 1 || p.Drops[0].Name != "b" || len(p.Outputs) != 1 || p.Outputs[0].Name != "y.a" {
		t.Errorf("drops %v, outputs %v", p.Drops, p.Outputs)
	}
	if _, err := drop.Inverse(); err == nil {
		t.Error("a drop was inverted")
	}
}

func FuzzParseMap(f *testing.F) {
	f.Add([]byte(rules))
	f.Add([]byte(`rules: [{from: [a, x], to: y, axis: 3, sizes: [1, 2], optional: true}, {from: "{r*}", drop: true}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := convert.ParseMap(text)
		if err != nil {
			return
		}
		// Rules that parse can be planned with, whatever the tensors are.
		c := &convert.Checkpoint{Tensors: []stored.Tensor{stored.InMemory(formats.Info{Name: "a", DType: formats.U8, Shape: []int{2, 2}}, make([]byte, 4))}}
		p, err := convert.NewPlan(c, convert.Options{To: convert.SafeTensors, Map: m})
		if err != nil {
			return
		}
		for _, o := range p.Outputs {
			if o.Bytes < 0 || len(o.From) == 0 {
				t.Errorf("output %+v", o)
			}
		}
	})
}
