package convert_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/masks"
)

// setOf returns the set of some masks.
func setOf(t testing.TB, list ...*masks.Mask) *masks.Set {
	t.Helper()
	set, err := masks.NewSet(list, masks.Recipe{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Packing and expanding gives the same bytes for every type, any bits of kept
// elements (-0, zeros, NaN), in one file and in shards, moments included.
func TestSparseRoundTrip(t *testing.T) {
	m, err := masks.RandomMask(masks.Target{Name: "a.weight", Out: 13, In: 37}, 120, 1)
	if err != nil {
		t.Fatal(err)
	}
	set := setOf(t, m)
	for _, d := range formats.DTypes() {
		if d.Bits()%8 != 0 {
			continue
		}
		size := d.Bits() / 8
		rng := rand.New(rand.NewPCG(1, 2))
		var tensors []safetensors.Tensor
		for _, name := range []string{"a.weight", "exp_avg.a.weight", "v.a.weight", "b.bias"} {
			data := make([]byte, 13*37*size)
			for e := range 13 * 37 {
				if name != "b.bias" && !m.Keep(e/37, e%37) {
					continue
				}
				switch rng.IntN(4) {
				case 0: // a kept zero
				case 1:
					data[(e+1)*size-1] = 0x80 // -0
				default:
					for k := range size {
						data[e*size+k] = byte(rng.Uint32())
					}
				}
			}
			tensors = append(tensors, safetensors.Bytes(name, d, []int{13, 37}, data))
		}
		dir := t.TempDir()
		dense := filepath.Join(dir, "dense.safetensors")
		if err := safetensors.WriteFile(dense, false, tensors, map[string]string{"format": "pt"}); err != nil {
			t.Fatal(err)
		}
		for _, shard := range []int64{0, int64(600 * size)} {
			packed := filepath.Join(dir, fmt.Sprint("packed", shard))
			if shard == 0 {
				packed += ".safetensors"
			}
			p := convertFile(t, dense, packed, convert.Options{To: convert.SafeTensors, Masks: set, Sparse: true, ShardSize: shard})
			if want := int64(3*120*size + 13*5 + 13*8 + 16 + 13*37*size); p.StoredBytes() != want {
				t.Errorf("%s: %d bytes, want %d", d, p.StoredBytes(), want)
			}
			back := filepath.Join(dir, fmt.Sprint("back", shard, ".safetensors"))
			convertFile(t, packed, back, convert.Options{To: convert.SafeTensors})
			if !bytes.Equal(fileBytes(t, back), fileBytes(t, dense)) {
				t.Errorf("%s, shards of %d: other bytes come back", d, shard)
			}
		}
	}
}

// A GPT-2 model with moments: q, k and v have masks of their own in one tensor,
// whose moments share its bitmask; those of dense tensors stay dense.
func TestSparseMoments(t *testing.T) {
	set := gptMasks(t, "hf")
	w := weightsAndMoments(t, set)
	dir := t.TempDir()
	dense, packed, back := filepath.Join(dir, "dense.safetensors"), filepath.Join(dir, "packed.safetensors"), filepath.Join(dir, "back.safetensors")
	if err := w.write(dense, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	p := convertFile(t, dense, packed, convert.Options{To: convert.SafeTensors, Masks: set, Sparse: true})
	want := int64(0)
	for _, h := range w {
		want += int64(len(h.data))
	}
	want -= int64(3 * 4 * (set.Total() - set.Kept()))
	for range gpt.L { // bitmask, row_offsets and shape of the four tensors, stored (in, out)
		for _, s := range [][2]int{{gpt.C, 3 * gpt.C}, {gpt.C, gpt.C}, {gpt.C, gpt.I}, {gpt.I, gpt.C}} {
			want += int64(s[0]*((s[1]+7)/8) + 8*s[0] + 16)
		}
	}
	if p.StoredBytes() != want {
		t.Errorf("%d bytes, want %d", p.StoredBytes(), want)
	}
	convertFile(t, packed, back, convert.Options{To: convert.SafeTensors})
	if !bytes.Equal(fileBytes(t, back), fileBytes(t, dense)) {
		t.Error("other bytes come back")
	}
	list, _, err := openAny(t, packed).ReadMasks("", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if !m.Equal(set.Find(m.Name, m.Part)) {
			t.Errorf("%s is another mask", m.Key())
		}
	}
	if len(list) != len(set.Masks) {
		t.Errorf("%d masks, want %d", len(list), len(set.Masks))
	}
}

// gptMasks are random masks of all matrices of gpt, under the names of a layout.
func gptMasks(t *testing.T, layout string) *masks.Set {
	t.Helper()
	var list []*masks.Mask
	for l := range gpt.L {
		for i, matrix := range matrices {
			name, part := maskName(layout, l, matrix)
			out, in := gpt.shape(matrix)
			m, err := masks.RandomMask(masks.Target{Name: name, Part: part, Out: out, In: in}, out*in/4+i, 1)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, m)
		}
	}
	set, err := masks.NewSet(list, masks.Recipe{Pattern: "unstructured"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// weightsAndMoments are the weights of gpt and two moments of each, masked.
func weightsAndMoments(t *testing.T, set *masks.Set) weights {
	t.Helper()
	w := read(t, gpt.dir(t))
	if err := w.mask(gpt, set, "hf"); err != nil {
		t.Fatal(err)
	}
	for name, h := range maps.Clone(w) {
		for _, moment := range []string{"exp_avg", "exp_avg_sq"} {
			m := held{h.info, bytes.Clone(h.data)}
			m.info.Name = moment + "." + strings.TrimPrefix(name, "transformer.")
			w[m.info.Name] = m
		}
	}
	return w
}

// Names that are no X.weight come back as they were, and a moment with a bitmask
// of its own is read.
func TestSparseNames(t *testing.T) {
	dir := t.TempDir()
	m, err := masks.RandomMask(masks.Target{Name: "w", Out: 3, In: 70}, 50, 1)
	if err != nil {
		t.Fatal(err)
	}
	set := setOf(t, m)
	data := make([]byte, 3*70)
	for e := range data {
		if m.Keep(e/70, e%70) {
			data[e] = byte(e)
		}
	}
	dense, packed, back := filepath.Join(dir, "dense.safetensors"), filepath.Join(dir, "packed.safetensors"), filepath.Join(dir, "back.safetensors")
	tensors := []safetensors.Tensor{safetensors.Bytes("w", formats.U8, []int{3, 70}, data), safetensors.Bytes("m.w", formats.U8, []int{3, 70}, data)}
	if err := safetensors.WriteFile(dense, false, tensors, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	convertFile(t, dense, packed, convert.Options{To: convert.SafeTensors, Masks: set, Sparse: true})
	convertFile(t, packed, back, convert.Options{To: convert.SafeTensors})
	if !bytes.Equal(fileBytes(t, back), fileBytes(t, dense)) {
		t.Error("other bytes come back")
	}
	f, err := safetensors.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var old []safetensors.Tensor
	for _, info := range f.Infos() {
		part, err := f.Tensor(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		old = append(old, part)
		if end, ok := strings.CutPrefix(info.Name, "w_"); ok && end != "compressed" {
			part.Name = "m.w." + end
			old = append(old, part)
		}
	}
	packed = filepath.Join(dir, "old.safetensors")
	if err := safetensors.WriteFile(packed, false, old, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(back); err != nil {
		t.Fatal(err)
	}
	convertFile(t, packed, back, convert.Options{To: convert.SafeTensors})
	if !bytes.Equal(fileBytes(t, back), fileBytes(t, dense)) {
		t.Error("other bytes come back from two bitmasks")
	}
}

func convertFile(t *testing.T, in, out string, o convert.Options) *convert.Plan {
	t.Helper()
	c := openAny(t, in)
	p, err := convert.NewPlan(c, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(context.Background(), out, false, nil); err != nil {
		t.Fatal(err)
	}
	differences, err := p.Verify(context.Background(), out, nil)
	if err != nil || len(differences) > 0 {
		t.Errorf("%s: %v %v", out, differences, err)
	}
	return p
}

func fileBytes(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A pruned weight that is not +0 would be lost: it is an error, and nothing is
// written.
func TestSparseAwake(t *testing.T) {
	m := masks.New("a.weight", "", 2, 3)
	m.Put(0, 0, true)
	set := setOf(t, m)
	dir := t.TempDir()
	dense, packed := filepath.Join(dir, "dense.safetensors"), filepath.Join(dir, "packed.safetensors")
	data := make([]byte, 24)
	data[4*5+3] = 0x80 // -0 at (1, 2)
	if err := safetensors.WriteFile(dense, false, []safetensors.Tensor{safetensors.Bytes("a.weight", formats.F32, []int{2, 3}, data)}, nil); err != nil {
		t.Fatal(err)
	}
	p, err := convert.NewPlan(openAny(t, dense), convert.Options{To: convert.SafeTensors, Masks: set, Sparse: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(context.Background(), packed, false, nil); err == nil || !strings.Contains(err.Error(), "element (1, 2) is pruned and not +0") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(packed); err == nil {
		t.Error("a file is left")
	}
}
