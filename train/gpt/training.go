package gpt

import (
	"math"

	"github.com/spdfctl/spdfctl/kernels"
)

// Training is what LossAndGrad depends on besides the weights. The zero value
// is the plain model; Loss, Logits and a Decoder never depend on it.
type Training struct {
	// Dropout is the probability with which an element of the embeddings and of
	// the output of an attention or an MLP is cleared; what stays is divided by
	// 1 - Dropout. The attention weights are never dropped. The choice is a pure
	// function of Seed, the number of the sequence and the place, so neither
	// threads nor micro-batches nor a resume change it.
	Dropout float64
	Seed    uint64
	First   int // number of the first sequence of the batch in the whole run

	// ZLoss adds ZLoss * log²Z of every counted target to what is differentiated,
	// Z being the sum of exp(logits). The loss returned does not include it.
	//
	// Source: Chowdhery et al., "PaLM", 2022, section 5.
	ZLoss float64

	// LabelSmoothing spreads this probability evenly over the vocabulary in what
	// is differentiated. The loss returned is that of the target alone.
	//
	// Source: Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7.
	LabelSmoothing float64

	// Recompute keeps only the input of every block and computes the rest again
	// in the backward pass: the same bits, a forward pass more, less memory.
	//
	// Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
	Recompute bool
}

// shapes reports whether the gradient of the logits is more than that of the
// cross-entropy.
func (t *Training) shapes() bool { return t.ZLoss != 0 || t.LabelSmoothing != 0 }

// shaping turns scale*(softmax - onehot), which SoftmaxCrossEntropy left in
// d (rows, v), into the gradient with z-loss z and smoothing e:
//
//	scale * ((1 + 2*z*logZ)*softmax[j] - (1-e)*[j == target] - e/v)
//
// picked are the logits of the targets, so that logZ = losses + picked. It is
// kept from pass to pass, and row with it, which a method value would allocate.
type shaping struct {
	t                 *Training
	d, losses, picked []float32
	targets           []int32
	v                 int
	scale             float32
	row               func(i int)
}

// run shapes the first rows rows.
func (s *shaping) run(rows int) {
	if s.row == nil {
		s.row = s.shapeRow
	}
	kernels.Parallel(rows, s.row)
}

func (s *shaping) shapeRow(i int) {
	if s.targets[i] < 0 {
		return
	}
	f := 1 + 2*s.t.ZLoss*(float64(s.losses[i])+float64(s.picked[i]))
	row := s.d[i*s.v : (i+1)*s.v]
	factor, even := float32(f), float32(float64(s.scale)*s.t.LabelSmoothing/float64(s.v))
	for j, x := range row {
		row[j] = float32(x*factor) - even
	}
	row[s.targets[i]] += float32(float64(s.scale) * (f - (1 - s.t.LabelSmoothing)))
}

// pickTargets writes the logits of the targets to dst.
func pickTargets(dst, logits []float32, targets []int32, v int) {
	for i, t := range targets {
		if t >= 0 {
			dst[i] = logits[i*v+int(t)]
		}
	}
}

// Sites of dropout: the embeddings, then two branches of every block.
const embeddingSite = 0

func attentionSite(block int) int { return 1 + 2*block }
func mlpSite(block int) int       { return 2 + 2*block }

// dropChunk is the number of elements that one task drops from. It is even: one
// draw serves two elements.
const dropChunk = 4096

// dropping clears elements of x (sequences of per numbers) at a site and scales
// the rest. It is kept from pass to pass like shaping.
type dropping struct {
	t                 *Training
	x                 []float32
	site, per, pieces int
	threshold         uint32
	scale             float32
	piece             func(k int)
}

// drop clears elements of x (sequences of per numbers) at a site and scales
// the rest, in place.
func (m *Model) drop(x []float32, site, per int) {
	t, d := &m.Training, &m.act.dropping
	if t.Dropout == 0 {
		return
	}
	if d.piece == nil {
		d.piece = d.dropPiece
	}
	d.t, d.x, d.site, d.per = t, x, site, per
	d.pieces = (per + dropChunk - 1) / dropChunk
	d.threshold = uint32(math.Round(t.Dropout * (1 << 32)))
	d.scale = float32(1 / (1 - t.Dropout))
	kernels.Parallel(len(x)/per*d.pieces, d.piece)
}

func (d *dropping) dropPiece(k int) {
	sequence, lo := k/d.pieces, k%d.pieces*dropChunk
	part := d.x[sequence*d.per:][lo:min(lo+dropChunk, d.per)]
	key := mix64(mix64(mix64(d.t.Seed^dropoutStream)+uint64(d.t.First+sequence)) + uint64(d.site))
	for j := 0; j < len(part); j += 2 {
		draw := mix64(key + uint64(lo+j+1)*0x9e3779b97f4a7c15)
		part[j] = keepOrClear(part[j], uint32(draw), d.threshold, d.scale)
		if j+1 < len(part) {
			part[j+1] = keepOrClear(part[j+1], uint32(draw>>32), d.threshold, d.scale)
		}
	}
}

func keepOrClear(x float32, draw, threshold uint32, scale float32) float32 {
	if draw < threshold {
		return 0
	}
	return x * scale
}

// dropoutStream keeps these draws apart from those of masks and initial weights.
const dropoutStream = 0x64726f706f757431

// mix64 is the finaliser of SplitMix64.
//
// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
// Generators", 2014, figure 16.
func mix64(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// dropped returns the gradient of a branch whose output was dropped at site:
// dy itself without dropout, otherwise a copy in scratch.
func (m *Model) dropped(dy []float32, site int) []float32 {
	if m.Training.Dropout == 0 {
		return dy
	}
	a := &m.act
	a.drop = grow(a.drop, len(dy))
	copy(a.drop, dy)
	m.drop(a.drop, site, a.t*m.Config.NEmbd)
	return a.drop
}

// SuParInit scales freshly drawn weights for the sparse maximal-update
// parametrization: with m_d = width/base and the density p of a hidden matrix,
// its weights are divided by sqrt(m_d*p), and the final LayerNorm by m_d, which
// divides the logits. The scale of attention stays 1/sqrt(HS), which differs
// from 1/HS by a constant as long as the heads keep their size.
//
// Source: Dey, Bergsma, Hestness, "Sparse maximal update parameterization",
// NeurIPS 2024, table 1; the factor of the logits is folded into ln_f, so that
// the checkpoint is a plain GPT-2.
func (m *Model) SuParInit(base int) {
	width := float64(m.Config.NEmbd) / float64(base)
	for _, p := range m.Params {
		switch {
		case p.Parts != nil:
			kernels.Scale(p.W, float32(1/math.Sqrt(width*p.density())))
		case p == m.lnfW:
			kernels.Scale(p.W, float32(1/width))
		}
	}
}

// SuParLRScale returns the factor of the learning rate of p under the
// parametrization of SuParInit: 1/(m_d*p) for a hidden matrix, 1/m_d for the
// final LayerNorm, because AdamW's step does not scale with the weights, and 1
// for the rest.
func (m *Model) SuParLRScale(p *Param, base int) float64 {
	width := float64(m.Config.NEmbd) / float64(base)
	switch {
	case p.Parts != nil:
		return 1 / (width * p.density())
	case p == m.lnfW || p == m.lnfB:
		return 1 / width
	}
	return 1
}

// density returns the kept part of p's weights; at least one counts as kept.
func (p *Param) density() float64 { return float64(max(len(p.W), 1)) / float64(p.Size()) }
