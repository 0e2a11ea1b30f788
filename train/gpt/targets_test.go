package gpt_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

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
