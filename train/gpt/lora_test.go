package gpt_test

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// everyTarget adapts all matrices of a block.
var everyTarget = gpt.LoRA{Rank: 3, Alpha: 6, Targets: gpt.LoRATargets()}

// newLoRA returns a tiny model with an update whose B is off its zero.
func newLoRA(t *testing.T, sparsity string, l gpt.LoRA) *gpt.Model {
	t.Helper()
	m := newTiny(t, sparsity, gpt.MaskTargets(tiny))
	if err := m.AddLoRA(l, 9); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for _, p := range m.Trainable() {
		if strings.HasSuffix(p.Name, "lora_B") {
			for i := range p.W {
				p.W[i] = float32(rng.NormFloat64() * 0.2)
			}
		}
	}
	return m
}

// merge64 is the slow twin of Merge: W + alpha/r * A·B in float64, on the
// weights of the twin model.
func merge64(r *ref64, m *gpt.Model, factors map[string][]float64) {
	l := m.LoRA()
	for _, target := range l.Matrices(m.Config) {
		a, b := factors[target.Key()+".lora_A"], factors[target.Key()+".lora_B"]
		shape, place, _ := gpt.StoredTarget(target)
		w := r.w[target.Name]
		for i := range target.In {
			for j := range target.Out {
				for k := range l.Rank {
					w[i*shape[1]+place.Offset+j] += l.Alpha / float64(l.Rank) * a[i*l.Rank+k] * b[k*target.Out+j]
				}
			}
		}
	}
}

// factors64 returns the factors of m under their names.
func factors64(m *gpt.Model) map[string][]float64 {
	out := map[string][]float64{}
	for _, p := range m.Trainable() {
		w := make([]float64, len(p.W))
		for i, x := range p.W {
			w[i] = float64(x)
		}
		out[p.Name] = w
	}
	return out
}

// TestLoRAGradients compares every element of the gradients of A and B with
// central differences of the dense float64 twin with the merged weights, and
// makes sure that nothing of the base has a gradient.
func TestLoRAGradients(t *testing.T) {
	for _, sparsity := range []string{"", "0.75"} {
		t.Run("base "+sparsity, func(t *testing.T) {
			m := newLoRA(t, sparsity, everyTarget)
			ids, targets, b, n := tinyBatch()
			const scale = 0.25
			sum, _, err := m.LossAndGrad(ids, targets, b, n, scale)
			if err != nil {
				t.Fatal(err)
			}
			f := factors64(m)
			loss := func() float64 {
				ref := newRef64(m)
				merge64(ref, m, f)
				return ref.loss(ids, targets, b, n)
			}
			if want := loss(); math.Abs(sum-want) > 1e-5*want {
				t.Errorf("loss %g, want %g", sum, want)
			}
			for _, p := range m.Trainable() {
				w := f[p.Name]
				var diff, norm float64
				for i := range w {
					const h = 1e-4
					at := w[i]
					w[i] = at + h
					up := loss()
					w[i] = at - h
					down := loss()
					w[i] = at
					want := scale * (up - down) / (2 * h)
					diff += (float64(p.Grad[i]) - want) * (float64(p.Grad[i]) - want)
					norm += want * want
				}
				if e := math.Sqrt(diff / norm); !(e < gradTolerance) {
					t.Errorf("%s: gradient is off by %.2g in norm, limit %g", p.Name, e, gradTolerance)
				}
			}
			for _, p := range m.Params {
				if p.Grad != nil {
					t.Errorf("%s is frozen and has a gradient", p.Name)
				}
			}
		})
	}
}

// TestLoRAStartsAsItsBase: B is zero, so the first loss is that of the base.
func TestLoRAStartsAsItsBase(t *testing.T) {
	ids, targets, b, n := tinyBatch()
	base := newTiny(t, "0.5", gpt.MaskTargets(tiny))
	want, _, err := base.Loss(ids, targets, b, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := base.AddLoRA(gpt.LoRA{Rank: 2, Alpha: 4, Targets: []string{"q", "v"}}, 1); err != nil {
		t.Fatal(err)
	}
	got, _, err := base.Loss(ids, targets, b, n)
	if err != nil || got != want {
		t.Errorf("loss with a fresh update is %v, without %v: %v", got, want, err)
	}
	if n := len(base.Trainable()); n != 2*2*tiny.NLayer {
		t.Errorf("%d trainable tensors, want A and B of q and v of %d layers", n, tiny.NLayer)
	}
}

// mergeTolerance is relative: the merged weights are rounded to float32 once.
const mergeTolerance = 1e-6

// TestLoRAMerge: the merged model has the loss of the one with the update, is
// W + alpha/r*A·B up to rounding, and keeps the masks of the other matrices.
func TestLoRAMerge(t *testing.T) {
	ids, targets, b, n := tinyBatch()
	for _, sparsity := range []string{"", "0.75"} {
		for _, l := range []gpt.LoRA{everyTarget, {Rank: 2, Alpha: 1, Targets: []string{"v", "fc"}}} {
			m := newLoRA(t, sparsity, l)
			merged, err := m.Merge()
			if err != nil {
				t.Fatal(err)
			}
			want, _, err := m.Loss(ids, targets, b, n)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := merged.Loss(ids, targets, b, n)
			if err != nil || math.Abs(got-want) > mergeTolerance*want {
				t.Errorf("base %q, targets %v: merged loss %.9g, with the update %.9g: %v", sparsity, l.Targets, got, want, err)
			}
			ref := newRef64(m)
			merge64(ref, m, factors64(m))
			for _, p := range merged.Params {
				dense := make([]float32, p.Size())
				p.Dense(dense, p.W)
				for i, x := range dense {
					if want := ref.w[p.Name][i]; math.Abs(float64(x)-want) > mergeTolerance*math.Max(1, math.Abs(want)) {
						t.Fatalf("%s: weight %d is %g, want %g", p.Name, i, x, want)
					}
				}
			}
			if sparsity == "" {
				continue
			}
			kept := 0
			if merged.Masks != nil {
				kept = len(merged.Masks.Masks)
			}
			if want := len(gpt.MaskTargets(tiny)) - len(l.Matrices(tiny)); kept != want {
				t.Errorf("targets %v: %d masks after the merge, want %d", l.Targets, kept, want)
			}
		}
	}
}

// TestLoRACheckpoint writes and reads the factors, and refuses another base,
// another update and a damaged file.
func TestLoRACheckpoint(t *testing.T) {
	dir := t.TempDir()
	m := newLoRA(t, "0.75", everyTarget)
	if err := m.WriteCheckpoint(dir, 0); err != nil {
		t.Fatal(err)
	}
	again := newTiny(t, "0.75", gpt.MaskTargets(tiny))
	if err := again.AddLoRA(everyTarget, 1000); err != nil {
		t.Fatal(err)
	}
	if err := again.ReadAdapter(dir); err != nil {
		t.Fatal(err)
	}
	for i, p := range again.Trainable() {
		for j, x := range p.W {
			if x != m.Trainable()[i].W[j] {
				t.Fatalf("%s: element %d is %g after reading, want %g", p.Name, j, x, m.Trainable()[i].W[j])
			}
		}
	}
	if _, err := gpt.Load(dir, false); err != nil {
		t.Errorf("the merged checkpoint does not load: %v", err)
	}
	refuse := func(name, want string, change func(m *gpt.Model), l gpt.LoRA) {
		t.Helper()
		m := newTiny(t, "0.75", gpt.MaskTargets(tiny))
		change(m)
		if err := m.AddLoRA(l, 1); err != nil {
			t.Fatal(err)
		}
		if err := m.ReadAdapter(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, want)
		}
	}
	none := func(*gpt.Model) {}
	refuse("another base", "the base is another one", func(m *gpt.Model) { m.Param("ln_f.bias").W[1]++ }, everyTarget)
	refuse("another alpha", "the model's is", none, gpt.LoRA{Rank: 3, Alpha: 7, Targets: gpt.LoRATargets()})
	path := filepath.Join(dir, gpt.AdapterFile)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	a := m.Trainable()[0]
	if err := safetensors.WriteFile(path, false, []safetensors.Tensor{safetensors.Float32s(a.Name, a.Shape, a.W)},
		map[string]string{"spdf.lora": `{"rank":3,"alpha":6,"targets":["q","k","v","attn_proj","fc","mlp_proj"]}`}); err != nil {
		t.Fatal(err)
	}
	refuse("missing tensors", "1 tensors, want 24", none, everyTarget)
}

func TestLoRAValidate(t *testing.T) {
	for _, c := range []struct {
		want string
		l    gpt.LoRA
	}{
		{"rank is 0", gpt.LoRA{Rank: 0, Alpha: 1, Targets: []string{"q"}}},
		{"alpha is NaN", gpt.LoRA{Rank: 1, Alpha: math.NaN(), Targets: []string{"q"}}},
		{"no targets", gpt.LoRA{Rank: 1, Alpha: 1}},
		{`"q" twice`, gpt.LoRA{Rank: 1, Alpha: 1, Targets: []string{"q", "q"}}},
		{`"head" is none of q, k`, gpt.LoRA{Rank: 1, Alpha: 1, Targets: []string{"head"}}},
	} {
		if err := c.l.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want an error with %q", c.l, err, c.want)
		}
	}
	if n := len(everyTarget.Matrices(tiny)); n != len(gpt.MaskTargets(tiny)) {
		t.Errorf("all targets are %d matrices, want %d", n, len(gpt.MaskTargets(tiny)))
	}
}

// TestLoRADecoder: a decoder sees the update too.
func TestLoRADecoder(t *testing.T) {
	m := newLoRA(t, "0.5", everyTarget)
	ids, _, _, _ := tinyBatch()
	ids = ids[:5]
	logits := make([]float32, len(ids)*tiny.VocabSize)
	if err := m.Logits(logits, ids, 1, len(ids)); err != nil {
		t.Fatal(err)
	}
	last, err := m.NewDecoder().Prefill(ids)
	if err != nil {
		t.Fatal(err)
	}
	if e := relative(last, logits[4*tiny.VocabSize:]); !(e < gradTolerance) {
		t.Errorf("the decoder's logits are off by %.2g", e)
	}
}
