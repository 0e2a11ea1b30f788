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

// shapeLogits turns scale*(softmax - onehot), which SoftmaxCrossEntropy left in
// d (rows, v), into the gradient with z-loss z and smoothing e:
//
//	scale * ((1 + 2*z*logZ)*softmax[j] - (1-e)*[j == target] - e/v)
//
// picked are the logits of the targets, so that logZ = losses + picked.
func (t *Training) shapeLogits(d, losses, picked []float32, targets []int32, rows, v int, scale float32) {
	kernels.Parallel(rows, func(i int) {
		if targets[i] < 0 {
			return
		}
		f := 1 + 2*t.ZLoss*(float64(losses[i])+float64(picked[i]))
		row := d[i*v : (i+1)*v]
		factor, even := float32(f), float32(float64(scale)*t.LabelSmoothing/float64(v))
		for j, x := range row {
			row[j] = float32(x*factor) - even
		}
		row[targets[i]] += float32(float64(scale) * (f - (1 - t.LabelSmoothing)))
	})
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

// drop clears elements of x (sequences of per numbers) at a site and scales
// the rest, in place.
func (t *Training) drop(x []float32, site, per int) {
	if t.Dropout == 0 {
		return
	}
	threshold := uint32(math.Round(t.Dropout * (1 << 32)))
	scale := float32(1 / (1 - t.Dropout))
	const chunk = 4096 // even: one draw serves two elements
	pieces := (per + chunk - 1) / chunk
	kernels.Parallel(len(x)/per*pieces, func(k int) {
		sequence, lo := k/pieces, k%pieces*chunk
		part := x[sequence*per:][lo:min(lo+chunk, per)]
		key := mix64(mix64(mix64(t.Seed^dropoutStream)+uint64(t.First+sequence)) + uint64(site))
		for j := 0; j < len(part); j += 2 {
			draw := mix64(key + uint64(lo+j+1)*0x9e3779b97f4a7c15)
			part[j] = keepOrClear(part[j], uint32(draw), threshold, scale)
			if j+1 < len(part) {
				part[j+1] = keepOrClear(part[j+1], uint32(draw>>32), threshold, scale)
			}
		}
	})
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
	m.Training.drop(a.drop, site, a.t*m.Config.NEmbd)
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
