package gpt

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/masks"
)

// LoRA says which matrices of a frozen model get an update of low rank.
type LoRA struct {
	Rank    int      `json:"rank"`
	Alpha   float64  `json:"alpha"`   // the update is scaled by Alpha / Rank
	Targets []string `json:"targets"` // of LoRATargets
}

// loraTargets names the matrices of a block as LoRA's users do.
var loraTargets = []struct{ name, module, part string }{
	{"q", "attn.c_attn.weight", "q"},
	{"k", "attn.c_attn.weight", "k"},
	{"v", "attn.c_attn.weight", "v"},
	{"attn_proj", "attn.c_proj.weight", ""},
	{"fc", "mlp.c_fc.weight", ""},
	{"mlp_proj", "mlp.c_proj.weight", ""},
}

// LoRATargets lists the names of the matrices that LoRA may adapt.
func LoRATargets() []string {
	var names []string
	for _, t := range loraTargets {
		names = append(names, t.name)
	}
	return names
}

// maxLoRARank is far beyond any use; a rank above the width is no low one.
const maxLoRARank = 1 << 12

// Validate reports a setting that cannot be.
func (l LoRA) Validate() error {
	switch {
	case l.Rank < 1 || l.Rank > maxLoRARank:
		return fmt.Errorf("gpt: lora: rank is %d, outside 1 to %d", l.Rank, maxLoRARank)
	case !(l.Alpha > 0 && l.Alpha < 1e6):
		return fmt.Errorf("gpt: lora: alpha is %g, outside (0, 1e6)", l.Alpha)
	case len(l.Targets) == 0:
		return errors.New("gpt: lora: no targets")
	}
	seen := map[string]bool{}
	for _, name := range l.Targets {
		if seen[name] {
			return fmt.Errorf("gpt: lora: target %q twice", name)
		}
		seen[name] = true
		if !l.known(name) {
			return fmt.Errorf("gpt: lora: target %q is none of %s", name, strings.Join(LoRATargets(), ", "))
		}
	}
	return nil
}

func (LoRA) known(name string) bool {
	for _, t := range loraTargets {
		if t.name == name {
			return true
		}
	}
	return false
}

// Matrices returns the matrices of a model that l adapts.
func (l LoRA) Matrices(c Config) []masks.Target {
	var list []masks.Target
	for _, t := range MaskTargets(c) {
		for _, name := range l.Targets {
			for _, x := range loraTargets {
				if x.name == name && x.part == t.Part && strings.HasSuffix(t.Name, x.module) {
					list = append(list, t)
				}
			}
		}
	}
	return list
}

// adapter is the update scale * A·B of one matrix.
type adapter struct {
	target masks.Target
	offset int    // first output column in the stored tensor
	a, b   *Param // (In, r), (r, Out)
	scale  float32
	dxa    []float32 // (tokens, r), kept from pass to pass
	narrow narrowPool
}

// AddLoRA freezes m and adds a trainable update to the matrices of l:
//
//	y = x·W + alpha/r * (x·A)·B
//
// A is drawn from U(-1/sqrt(in), 1/sqrt(in)), from a stream of its own keyed by
// seed and name; B is zero, so that m computes the same function as before. W
// may be dense or kept weights only. From then on Trainable lists the factors
// alone.
//
// Source: Hu et al., "LoRA", 2021, section 4.1; the distribution of A is that
// of its code (Kaiming uniform with a = sqrt(5)).
func (m *Model) AddLoRA(l LoRA, seed uint64) error {
	if err := l.Validate(); err != nil {
		return err
	}
	if m.lora != nil {
		return errors.New("gpt: lora: the model has an update already")
	}
	m.lora = &l
	for _, t := range l.Matrices(m.Config) {
		shape, place, err := StoredTarget(t)
		if err != nil {
			return err
		}
		p := m.Param(t.Name)
		if p.Shape[0] != shape[0] || p.Shape[1] != shape[1] {
			return fmt.Errorf("gpt: lora: %q is %v, want %v", t.Name, p.Shape, shape)
		}
		x := &adapter{target: t, offset: place.Offset, scale: float32(l.Alpha / float64(l.Rank))}
		x.a = &Param{Name: t.Key() + ".lora_A", Shape: []int{t.In, l.Rank}, Decay: true, W: make([]float32, t.In*l.Rank)}
		x.b = &Param{Name: t.Key() + ".lora_B", Shape: []int{l.Rank, t.Out}, Decay: true, W: make([]float32, l.Rank*t.Out)}
		rng := rand.New(streamOf(seed, x.a.Name))
		bound := 1 / math.Sqrt(float64(t.In))
		for i := range x.a.W {
			x.a.W[i] = float32((2*rng.Float64() - 1) * bound)
		}
		p.adapters = append(p.adapters, x)
		m.loraParams = append(m.loraParams, x.a, x.b)
	}
	for _, p := range m.Params {
		p.Grad = nil
	}
	return nil
}

// LoRA returns the update of low rank that m has, or nil.
func (m *Model) LoRA() *LoRA { return m.lora }

// Trainable lists the parameters that training changes: all of them, or the
// factors of the updates of a frozen model.
func (m *Model) Trainable() []*Param {
	if m.lora != nil {
		return m.loraParams
	}
	return m.Params
}

// forward adds scale * (x·A)·B to dst (tokens, width), whose columns from
// offset on are the matrix's. Decoders may do so beside each other on one model.
func (x *adapter) forward(dst, in []float32, width, tokens int) {
	r := x.a.Shape[1]
	xa := x.narrow.take(tokens * r)
	defer x.narrow.put(xa)
	x.project(xa, in, tokens)
	kernels.GemmNN(dst[x.offset:], width, xa, r, x.b.W, x.target.Out, tokens, x.target.Out, r, true)
}

// project computes xa = scale * x·A.
func (x *adapter) project(xa, in []float32, tokens int) {
	r := x.a.Shape[1]
	kernels.GemmNN(xa, r, in, x.target.In, x.a.W, r, tokens, r, x.target.In, false)
	kernels.Scale(xa[:tokens*r], x.scale)
}

// backward adds to the gradients of A and B and to dx (tokens, In).
func (x *adapter) backward(dx, dy, in []float32, width, tokens int) {
	r, t := x.a.Shape[1], x.target
	x.dxa = grow(x.dxa, tokens*r)
	xa := x.narrow.take(tokens * r)
	defer x.narrow.put(xa)
	x.project(xa, in, tokens)
	kernels.GemmTN(x.b.Grad, t.Out, xa, r, dy[x.offset:], width, r, t.Out, tokens, true)
	kernels.GemmNT(x.dxa, r, dy[x.offset:], width, x.b.W, t.Out, tokens, r, t.Out, false)
	kernels.Scale(x.dxa[:tokens*r], x.scale)
	kernels.GemmTN(x.a.Grad, r, in, t.In, x.dxa, r, t.In, r, tokens, true)
	kernels.GemmNT(dx, t.In, x.dxa, r, x.a.W, r, tokens, t.In, r, true)
}

// narrowPool keeps the buffers (tokens, r) of x·A, one for every pass that ran
// beside others.
type narrowPool struct {
	mu   sync.Mutex
	free [][]float32
}

// take returns n numbers of unspecified content.
func (p *narrowPool) take(n int) []float32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.free) - 1
	if last < 0 {
		return make([]float32, n)
	}
	s := p.free[last]
	p.free = p.free[:last]
	return grow(s, n)
}

func (p *narrowPool) put(s []float32) {
	p.mu.Lock()
	p.free = append(p.free, s)
	p.mu.Unlock()
}

// Merge returns a model without updates that computes the same function, up to
// rounding: W + scale * A·B, summed in float64 and so the same bits on every
// machine. The adapted matrices are dense in it; the masks of the others stay.
func (m *Model) Merge() (*Model, error) {
	var set *masks.Set
	if m.Masks != nil {
		var rest []*masks.Mask
		for _, k := range m.Masks.Masks {
			if !m.adapts(k.Key()) {
				rest = append(rest, k)
			}
		}
		if rest != nil {
			var err error
			if set, err = masks.NewSet(rest, m.Masks.Recipe, m.Masks.Parameters); err != nil {
				return nil, err
			}
		}
	}
	out, err := New(m.Config, set)
	if err != nil {
		return nil, err
	}
	for i, p := range m.Params {
		dense := make([]float32, p.Size())
		p.Dense(dense, p.W)
		for _, x := range p.adapters {
			x.addTo(dense, p.Shape[1])
		}
		out.Params[i].FromDense(out.Params[i].W, dense)
	}
	return out, nil
}

// adapts reports whether the matrix of that key has an update.
func (m *Model) adapts(key string) bool {
	for _, p := range m.Params {
		for _, x := range p.adapters {
			if x.target.Key() == key {
				return true
			}
		}
	}
	return false
}

// addTo adds scale * A·B to the stored tensor w of the given width.
func (x *adapter) addTo(w []float32, width int) {
	r, out := x.a.Shape[1], x.target.Out
	kernels.Parallel(x.target.In, func(i int) {
		row := w[i*width+x.offset:][:out]
		for j := range row {
			var sum float64
			for k := range r {
				sum += float64(float64(x.a.W[i*r+k]) * float64(x.b.W[k*out+j]))
			}
			row[j] = float32(float64(row[j]) + float64(float64(x.scale)*sum))
		}
	})
}
