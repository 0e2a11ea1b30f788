package gpt

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/masks"
)

// Model is a GPT-2 with its parameters and the buffers of a pass. A Model
// serves one pass at a time; a Decoder reads it only, so that many may run
// beside each other.
type Model struct {
	Config Config
	Params []*Param // in the order of the GPT-2 checkpoint
	Masks  *masks.Set

	Training Training // what a training pass does besides

	wte, wpe   *Param // (V, C), (NCtx, C)
	lnfW, lnfB *Param // (C)
	blocks     []block

	lora       *LoRA
	loraParams []*Param // A and B of every adapted matrix

	precision kernels.Precision

	act     activations
	observe func(s Stage, block int, backward bool)
	interrupt
}

// block holds the parameters of one transformer block.
type block struct {
	ln1W, ln1B   *Param // (C)
	attnW, attnB *Param // (C, 3*C), (3*C)
	projW, projB *Param // (C, C), (C)
	ln2W, ln2B   *Param // (C)
	fcW, fcB     *Param // (C, Inner), (Inner)
	outW, outB   *Param // (Inner, C), (C)
}

// New returns a model with all weights zero. With set not nil, the matrices
// it has masks for are stored as kept weights only. A mask that no matrix of
// the model matches, by name or by shape, is an error.
func New(c Config, set *masks.Set) (*Model, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	m := &Model{Config: c, Masks: set}
	used := 0
	vector := func(name string, n int) *Param {
		p := &Param{Name: name, Shape: []int{n}, W: make([]float32, n)}
		m.Params = append(m.Params, p)
		return p
	}
	matrix := func(name string, rows, cols int) *Param {
		p := &Param{Name: name, Shape: []int{rows, cols}, Decay: true, W: make([]float32, rows*cols)}
		m.Params = append(m.Params, p)
		return p
	}
	var firstErr error
	linear := func(name string, in, out int, names ...string) *Param {
		if len(names) == 0 {
			names = []string{""}
		}
		list := make([]*masks.Mask, len(names))
		for i, part := range names {
			if set != nil {
				if list[i] = set.Find(name, part); list[i] != nil {
					used++
				}
			}
		}
		p, err := linearParam(name, in, out, list)
		if err != nil && firstErr == nil {
			firstErr = err
		}
		m.Params = append(m.Params, p)
		return p
	}
	C, inner := c.NEmbd, c.Inner()
	m.wte = matrix("wte.weight", c.VocabSize, C)
	m.wpe = matrix("wpe.weight", c.NCtx, C)
	m.blocks = make([]block, c.NLayer)
	for i := range m.blocks {
		h := "h." + strconv.Itoa(i) + "."
		b := &m.blocks[i]
		b.ln1W, b.ln1B = vector(h+"ln_1.weight", C), vector(h+"ln_1.bias", C)
		b.attnW = linear(h+"attn.c_attn.weight", C, 3*C, "q", "k", "v")
		b.attnB = vector(h+"attn.c_attn.bias", 3*C)
		b.projW, b.projB = linear(h+"attn.c_proj.weight", C, C), vector(h+"attn.c_proj.bias", C)
		b.ln2W, b.ln2B = vector(h+"ln_2.weight", C), vector(h+"ln_2.bias", C)
		b.fcW, b.fcB = linear(h+"mlp.c_fc.weight", C, inner), vector(h+"mlp.c_fc.bias", inner)
		b.outW, b.outB = linear(h+"mlp.c_proj.weight", inner, C), vector(h+"mlp.c_proj.bias", C)
		if firstErr != nil {
			return nil, firstErr
		}
	}
	m.lnfW, m.lnfB = vector("ln_f.weight", C), vector("ln_f.bias", C)
	if set != nil && used != len(set.Masks) {
		return nil, m.strayMask(set)
	}
	return m, nil
}

// strayMask names the first mask of set that belongs to no matrix of m.
func (m *Model) strayMask(set *masks.Set) error {
	known := map[string]bool{}
	for _, t := range MaskTargets(m.Config) {
		known[t.Name+"#"+t.Part] = true
	}
	for _, k := range set.Masks {
		if !known[k.Name+"#"+k.Part] {
			return fmt.Errorf("gpt: mask %q: the model of %d layers has no such matrix", k.Key(), m.Config.NLayer)
		}
	}
	return fmt.Errorf("gpt: %d masks for one matrix", len(set.Masks))
}

// Init draws the initial weights: N(0, InitializerRange²) for matrices and
// embeddings, the same divided by sqrt(2L) for the projections that feed the
// residual stream, 1 for LayerNorm weights and 0 for biases.
//
// Every tensor draws from its own PCG stream keyed by seed and name, and a
// masked tensor draws the dense one first, so that a dense and a sparse model
// of the same seed start from the same weights.
//
// Source: Radford et al., "Language Models are Unsupervised Multitask
// Learners", 2019, section 2.3.
func (m *Model) Init(seed uint64) {
	for _, p := range m.Params {
		switch {
		case strings.HasSuffix(p.Name, ".bias"):
			clear(p.W)
		case len(p.Shape) == 1:
			for i := range p.W {
				p.W[i] = 1
			}
		default:
			std := m.Config.InitializerRange
			if strings.HasSuffix(p.Name, "c_proj.weight") {
				std /= math.Sqrt(2 * float64(m.Config.NLayer))
			}
			dense := make([]float32, p.Size())
			rng := rand.New(streamOf(seed, p.Name))
			for i := range dense {
				dense[i] = float32(rng.NormFloat64() * std)
			}
			p.FromDense(p.W, dense)
		}
	}
}

// streamOf returns the random stream of one tensor.
func streamOf(seed uint64, name string) *rand.PCG {
	h := sha256.Sum256(fmt.Appendf(nil, "spdf-init-1\x00%d\x00%s", seed, name))
	return rand.NewPCG(binary.LittleEndian.Uint64(h[:]), binary.LittleEndian.Uint64(h[8:]))
}

// Param returns the parameter of that name, or nil.
func (m *Model) Param(name string) *Param {
	for _, p := range m.Params {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Counts returns the number of weights of m, and how many of them are kept.
func (m *Model) Counts() (total, kept int) {
	for _, p := range m.Params {
		total += p.Size()
		kept += len(p.W)
	}
	return total, kept
}

// ZeroGrad begins a training step: it sets the gradients of all trainable
// parameters to zero, allocating them on first use. The weights may be written
// to between the last backward pass of a step and ZeroGrad; backward passes
// that follow each other without it assume the same weights.
func (m *Model) ZeroGrad() {
	for _, p := range m.Trainable() {
		p.weightsChanged()
		if p.Grad == nil {
			p.Grad = make([]float32, len(p.W))
		} else {
			kernels.Clear(p.Grad)
		}
	}
}

// Densify returns a dense model with the weights of m; the weights that were
// pruned start at +0, so that both compute the same function.
//
// Source: Thangarasa et al., "SPDF", UAI 2023, section 2.2.
func (m *Model) Densify() (*Model, error) {
	d, err := New(m.Config, nil)
	if err != nil {
		return nil, err
	}
	for i, p := range m.Params {
		p.Dense(d.Params[i].W, p.W)
	}
	d.SetPrecision(m.precision)
	return d, nil
}

// SetPrecision makes the dense products of the linear layers and of the head
// round their factors to p: weights, activations and gradients, which all stay
// float32 in memory. The sparse products, attention and updates of low rank are
// float32 always. p must be available.
func (m *Model) SetPrecision(p kernels.Precision) {
	m.precision = p
	for _, q := range m.Params {
		q.precision = p
	}
}
