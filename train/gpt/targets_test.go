package gpt_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

func TestMaskTargets(t *testing.T) {
	got := gpt.MaskTargets(gpt.Config{NLayer: 2, NEmbd: 4, NInner: 6})
	var want []masks.Target
	for _, h := range []string{"h.0.", "h.1."} {
		want = append(want,
			masks.Target{Name: h + "attn.c_attn.weight", Part: "q", Out: 4, In: 4},
			masks.Target{Name: h + "attn.c_attn.weight", Part: "k", Out: 4, In: 4},
			masks.Target{Name: h + "attn.c_attn.weight", Part: "v", Out: 4, In: 4},
			masks.Target{Name: h + "attn.c_proj.weight", Out: 4, In: 4},
			masks.Target{Name: h + "mlp.c_fc.weight", Out: 6, In: 4},
			masks.Target{Name: h + "mlp.c_proj.weight", Out: 4, In: 6})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The sparsifiable weights of the paper's two models, all block weights.
func TestMaskTargetsCountsOfThePaper(t *testing.T) {
	for name, want := range map[string]int{"spdf-gpt2-small": 84934656, "spdf-gpt3-xl": 1207959552} {
		c, ok := gpt.Preset(name)
		if !ok {
			t.Fatalf("no preset %s", name)
		}
		got := 0
		for _, target := range gpt.MaskTargets(c) {
			got += target.Total()
		}
		if got != want || int64(got) != c.Params().Weights {
			t.Errorf("%s: %d sparsifiable weights, want %d; Params says %d", name, got, want, c.Params().Weights)
		}
	}
}

func TestStoredTarget(t *testing.T) {
	for _, c := range []struct {
		target masks.Target
		shape  []int
		i, j   int
		stored [2]int // row and column of weight (i, j)
	}{
		{masks.Target{Name: "h.0.attn.c_attn.weight", Part: "q", Out: 4, In: 4}, []int{4, 12}, 1, 2, [2]int{2, 1}},
		{masks.Target{Name: "h.0.attn.c_attn.weight", Part: "k", Out: 4, In: 4}, []int{4, 12}, 1, 2, [2]int{2, 5}},
		{masks.Target{Name: "h.12.attn.c_attn.weight", Part: "v", Out: 4, In: 4}, []int{4, 12}, 3, 3, [2]int{3, 11}},
		{masks.Target{Name: "h.0.mlp.c_fc.weight", Out: 6, In: 4}, []int{4, 6}, 5, 0, [2]int{0, 5}},
		{masks.Target{Name: "h.0.mlp.c_proj.weight", Out: 4, In: 6}, []int{6, 4}, 3, 5, [2]int{5, 3}},
	} {
		shape, p, err := gpt.StoredTarget(c.target)
		if err != nil {
			t.Error(err)
			continue
		}
		got := p.Offset + c.i*p.RowStride + c.j*p.ColStride
		if want := c.stored[0]*shape[1] + c.stored[1]; !cmp.Equal(shape, c.shape) || got != want || p.Elements != shape[0]*shape[1] {
			t.Errorf("%s: shape %v, weight (%d, %d) at %d, %d elements; want %v, %d", c.target.Key(), shape, c.i, c.j, got, p.Elements, c.shape, want)
		}
	}
	for _, bad := range []masks.Target{
		{Name: "wte.weight"}, {Name: "h.0.attn.c_attn.weight"}, {Name: "h.0.attn.c_attn.weight", Part: "o"}, {Name: "h.0.mlp.c_fc.weight", Part: "q"},
		{Name: "h.00.mlp.c_fc.weight"}, {Name: "h.-1.mlp.c_fc.weight"}, {Name: "h.x.mlp.c_fc.weight"}, {Name: "h.0.ln_1.weight"}, {Name: "h.mlp.c_fc.weight"},
		{Name: "x.0.mlp.c_fc.weight"}, {Name: "h.0.mlp.c_fc.bias"}, {Name: ""},
	} {
		bad.Out, bad.In = 2, 2
		if _, _, err := gpt.StoredTarget(bad); err == nil {
			t.Errorf("%q: no error", bad.Key())
		}
	}
}

// oneBlock writes the four weights of a block of width 3, all ones, and a
// tensor without a mask, and returns the path.
func oneBlock(t *testing.T, prefix string, d formats.DType) string {
	t.Helper()
	one := map[formats.DType][]byte{
		formats.F32:  binary.LittleEndian.AppendUint32(nil, math.Float32bits(1)),
		formats.BF16: {0x80, 0x3f},
	}[d]
	var tensors []safetensors.Tensor
	for _, s := range []struct {
		name       string
		rows, cols int
	}{
		{"h.0.attn.c_attn.weight", 3, 9}, {"h.0.attn.c_proj.weight", 3, 3}, {"h.0.mlp.c_fc.weight", 3, 12}, {"h.0.mlp.c_proj.weight", 12, 3}, {"wte.weight", 5, 3},
	} {
		tensors = append(tensors, safetensors.Bytes(prefix+s.name, d, []int{s.rows, s.cols}, bytes.Repeat(one, s.rows*s.cols)))
	}
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := safetensors.WriteFile(path, false, tensors, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestZeroPruned(t *testing.T) {
	s, err := masks.ParseSparsity("0.6")
	if err != nil {
		t.Fatal(err)
	}
	set, err := masks.Random(gpt.MaskTargets(gpt.Config{NLayer: 1, NEmbd: 3}), s, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		prefix string
		dtype  formats.DType
	}{{"", formats.F32}, {"transformer.", formats.BF16}} {
		t.Run(fmt.Sprintf("prefix=%q/dtype=%s", c.prefix, c.dtype), func(t *testing.T) {
			path := oneBlock(t, c.prefix, c.dtype)
			f, err := safetensors.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			awake, err := gpt.FindAwake(f, set)
			if err != nil {
				t.Fatal(err)
			}
			if len(awake) != len(set.Masks) {
				t.Fatalf("%d masks broken, want all %d", len(awake), len(set.Masks))
			}
			for i, a := range awake {
				if m := set.Masks[i]; a.Mask != m || a.Count != m.Total()-m.Kept() || m.Keep(a.Row, a.Col) {
					t.Errorf("%q: %d awake, the first at (%d, %d)", m.Key(), a.Count, a.Row, a.Col)
				}
			}

			changed := 0
			tensors, err := gpt.ZeroPruned(f, set, func(_ *masks.Mask, n int) { changed += n })
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "out.safetensors")
			if err := safetensors.WriteFile(out, false, tensors, f.Metadata()); err != nil {
				t.Fatal(err)
			}
			if want := set.Total() - set.Kept(); changed != want {
				t.Errorf("%d weights changed, want %d", changed, want)
			}
			g, err := safetensors.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if awake, err := gpt.FindAwake(g, set); err != nil || len(awake) != 0 {
				t.Errorf("after ZeroPruned: %v, %v", awake, err)
			}
			// Every kept weight is still one: the sum counts them.
			ones := 0
			for _, info := range g.Infos() {
				n, err := info.NumElements()
				if err != nil {
					t.Fatal(err)
				}
				x := make([]float32, n)
				if err := g.ReadFloat32(x, info.Name); err != nil {
					t.Fatal(err)
				}
				for _, v := range x {
					if v == 1 {
						ones++
					}
				}
			}
			if want := set.Kept() + 15; ones != want {
				t.Errorf("%d ones, want %d", ones, want)
			}
		})
	}
}

func TestFindAwakeErrors(t *testing.T) {
	f, err := safetensors.Open(oneBlock(t, "", formats.F32))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, m := range []*masks.Mask{
		masks.New("h.1.mlp.c_fc.weight", "", 12, 3),
		masks.New("h.0.mlp.c_fc.weight", "", 3, 12),
		masks.New("h.0.attn.c_attn.weight", "q", 9, 3),
		masks.New("wte.weight", "", 5, 3),
	} {
		set, err := masks.NewSet([]*masks.Mask{m}, masks.Recipe{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := gpt.FindAwake(f, set); err == nil {
			t.Errorf("FindAwake: %q (%d, %d): no error", m.Key(), m.Out, m.In)
		}
		if _, err := gpt.ZeroPruned(f, set, nil); err == nil {
			t.Errorf("ZeroPruned: %q (%d, %d): no error", m.Key(), m.Out, m.In)
		}
	}
}
