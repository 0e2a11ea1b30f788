package gpt_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// tiny is the smallest model in which every code path differs: two layers,
// two heads, an MLP width of its own.
var tiny = gpt.Config{VocabSize: 11, NCtx: 7, NEmbd: 8, NLayer: 2, NHead: 2, NInner: 20}.WithDefaults()

// newTiny returns a tiny model whose biases and norms are off their initial
// values, so that no gradient is zero by symmetry; part of it is masked if
// sparsity is not empty.
func newTiny(t *testing.T, sparsity string, targets []masks.Target) *gpt.Model {
	t.Helper()
	var set *masks.Set
	if sparsity != "" {
		s, err := masks.ParseSparsity(sparsity)
		if err != nil {
			t.Fatal(err)
		}
		if set, err = masks.Random(targets, s, 3); err != nil {
			t.Fatal(err)
		}
	}
	m, err := gpt.New(tiny, set)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(5)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range m.Params {
		for i := range p.W {
			p.W[i] += float32(rng.NormFloat64() * 0.3)
		}
	}
	return m
}

// tinyBatch is two sequences with one target left out of the loss.
func tinyBatch() (ids, targets []int32, b, t int) {
	ids = []int32{3, 1, 4, 1, 5, 9, 2, 6, 5, 3}
	targets = []int32{1, 4, 1, 5, 9, 6, -1, 3, 10, 0}
	return ids, targets, 2, 5
}

// gradTolerance is relative, in norm per tensor: float32 sums over at most
// 2*5*20 terms lose about sqrt(200)*2^-24 = 8e-7 per layer of the chain.
const gradTolerance = 1e-5

// TestGradients compares every element of every gradient with the central
// difference of the float64 twin.
func TestGradients(t *testing.T) {
	all := gpt.MaskTargets(tiny)
	var mixed []masks.Target // one logical matrix of a fused tensor stays dense
	for _, x := range all {
		if x.Part != "k" {
			mixed = append(mixed, x)
		}
	}
	for _, c := range []struct {
		name, sparsity string
		targets        []masks.Target
	}{{"dense", "", nil}, {"masked", "0.75", all}, {"half", "0.5", all}, {"part dense", "0.75", mixed}} {
		t.Run(c.name, func(t *testing.T) {
			m := newTiny(t, c.sparsity, c.targets)
			ids, targets, b, n := tinyBatch()
			const scale = 0.25
			sum, count, err := m.LossAndGrad(ids, targets, b, n, scale)
			if err != nil {
				t.Fatal(err)
			}
			ref := newRef64(m)
			if want := ref.loss(ids, targets, b, n); count != 9 || math.Abs(sum-want) > 1e-5*want {
				t.Errorf("loss %g of %d targets, want %g of 9", sum, count, want)
			}
			for _, p := range m.Params {
				got := make([]float32, p.Size())
				p.Dense(got, p.Grad)
				kept := make([]float32, p.Size())
				ones := make([]float32, len(p.W))
				for i := range ones {
					ones[i] = 1
				}
				p.Dense(kept, ones)
				w := ref.w[p.Name]
				var diff, norm float64
				for i := range w {
					if kept[i] == 0 {
						if math.Float32bits(got[i]) != 0 {
							t.Errorf("%s: gradient of pruned weight %d is %g, want +0", p.Name, i, got[i])
						}
						continue
					}
					const h = 1e-4
					at := w[i]
					w[i] = at + h
					up := ref.loss(ids, targets, b, n)
					w[i] = at - h
					down := ref.loss(ids, targets, b, n)
					w[i] = at
					want := scale * (up - down) / (2 * h)
					diff += (float64(got[i]) - want) * (float64(got[i]) - want)
					norm += want * want
				}
				if e := math.Sqrt(diff / norm); !(e < gradTolerance) {
					t.Errorf("%s: gradient is off by %.2g in norm, limit %g", p.Name, e, gradTolerance)
				}
			}
		})
	}
}

// TestGradientsAdd makes sure that micro-batches sum up to the whole batch.
func TestGradientsAdd(t *testing.T) {
	ids, targets, b, n := tinyBatch()
	whole, parts := newTiny(t, "0.5", gpt.MaskTargets(tiny)), newTiny(t, "0.5", gpt.MaskTargets(tiny))
	if _, _, err := whole.LossAndGrad(ids, targets, b, n, 1); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		if _, _, err := parts.LossAndGrad(ids[i*n:(i+1)*n], targets[i*n:(i+1)*n], 1, n, 1); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range whole.Params {
		if e := relative(parts.Params[i].Grad, p.Grad); !(e < gradTolerance) {
			t.Errorf("%s: sum of two micro-batches is off by %.2g", p.Name, e)
		}
	}
}

// relative returns ||got-want|| / ||want||.
func relative(got, want []float32) float64 {
	var diff, norm float64
	for i := range want {
		d := float64(got[i]) - float64(want[i])
		diff += d * d
		norm += float64(want[i]) * float64(want[i])
	}
	return math.Sqrt(diff / norm)
}

// TestDecoder compares the token-by-token path with the whole pass.
func TestDecoder(t *testing.T) {
	for _, sparsity := range []string{"", "0.75"} {
		t.Run(fmt.Sprintf("sparsity=%s", sparsity), func(t *testing.T) {
			m := newTiny(t, sparsity, gpt.MaskTargets(tiny))
			ids := []int32{3, 1, 4, 1, 5, 9, 2}
			v := tiny.VocabSize
			want := make([]float32, len(ids)*v)
			if err := m.Logits(want, ids, 1, len(ids)); err != nil {
				t.Fatal(err)
			}
			d := m.NewDecoder()
			for i, id := range ids {
				got, err := d.Next(id)
				if err != nil {
					t.Fatal(err)
				}
				if e := relative(got, want[i*v:(i+1)*v]); !(e < 1e-5) {
					t.Errorf("position %d: logits are off by %.2g", i, e)
				}
			}
			if _, err := d.Next(1); err == nil {
				t.Error("a token beyond the context is accepted")
			}
			if _, err := m.NewDecoder().Next(int32(v)); err == nil {
				t.Error("a token outside the vocabulary is accepted")
			}
		})
	}
}

// TestDensify: the revived weights are +0 and the logits stay.
func TestDensify(t *testing.T) {
	m := newTiny(t, "0.75", gpt.MaskTargets(tiny))
	d, err := m.Densify()
	if err != nil {
		t.Fatal(err)
	}
	ids := []int32{3, 1, 4, 1, 5, 9, 2}
	sparse := make([]float32, len(ids)*tiny.VocabSize)
	dense := make([]float32, len(sparse))
	if err := m.Logits(sparse, ids, 1, len(ids)); err != nil {
		t.Fatal(err)
	}
	if err := d.Logits(dense, ids, 1, len(ids)); err != nil {
		t.Fatal(err)
	}
	// The sums run in another order, so the last bits may differ.
	if e := relative(dense, sparse); !(e < 1e-6) {
		t.Errorf("logits of the densified model are off by %.2g", e)
	}
	total, kept := d.Counts()
	if want := int(tiny.Params().Total()); total != want || kept != want {
		t.Errorf("densified model has %d of %d weights, want %d", kept, total, want)
	}
	zero := 0
	for _, p := range d.Params {
		for _, x := range p.W {
			if math.Float32bits(x) == 0 {
				zero++
			}
		}
	}
	_, sparseKept := m.Counts()
	if zero != total-sparseKept {
		t.Errorf("%d weights are +0, want the %d revived ones", zero, total-sparseKept)
	}
}

// TestInitIsShared: dense and sparse models of one seed start alike.
func TestInitIsShared(t *testing.T) {
	s, err := masks.ParseSparsity("0.5")
	if err != nil {
		t.Fatal(err)
	}
	set, err := masks.Random(gpt.MaskTargets(tiny), s, 1)
	if err != nil {
		t.Fatal(err)
	}
	dense, err := gpt.New(tiny, nil)
	if err != nil {
		t.Fatal(err)
	}
	sparse, err := gpt.New(tiny, set)
	if err != nil {
		t.Fatal(err)
	}
	dense.Init(9)
	sparse.Init(9)
	for i, p := range sparse.Params {
		picked := make([]float32, len(p.W))
		p.FromDense(picked, dense.Params[i].W)
		for j := range picked {
			if picked[j] != p.W[j] {
				t.Fatalf("%s: kept weight %d starts at %g, the dense one at %g", p.Name, j, p.W[j], picked[j])
			}
		}
	}
}

func TestMasksOfAnotherModel(t *testing.T) {
	s, err := masks.ParseSparsity("0.5")
	if err != nil {
		t.Fatal(err)
	}
	wider := tiny
	wider.NEmbd = 16
	deeper := tiny
	deeper.NLayer = 3
	for name, c := range map[string]gpt.Config{"wider": wider, "deeper": deeper} {
		set, err := masks.Random(gpt.MaskTargets(c), s, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := gpt.New(tiny, set); err == nil {
			t.Errorf("masks of a %s model are accepted", name)
		}
	}
}
