package gpt

import (
	"fmt"

	"github.com/spdfctl/spdfctl/kernels"
)

// activations are the buffers of one forward and backward pass, kept from
// pass to pass. N = B*T tokens; every slice may be longer than N needs.
type activations struct {
	b, t   int
	layers []layerActs

	resid []float32 // (N, C), the stream after the last block
	lnf   []float32 // (N, C), final LayerNorm
	meanf []float32 // (N)
	rstdf []float32 // (N)

	logits []float32 // (headRows, V), one chunk of tokens
	losses []float32 // (N)

	dresid []float32 // (N, C), gradient of the residual stream
	dtmp   []float32 // (N, max(Inner, 3*C)), perhaps in panels
	dtmp2  []float32 // (N, C)
	sum    []float32 // (N, C), output of the branch added to the stream
	unused []float32 // (C), gradients of frozen LayerNorms
	drop   []float32 // (N, C), gradient behind a dropout
	picked []float32 // (headRows), logits of the targets, where the loss is shaped

	shaping  shaping
	dropping dropping
}

// layerActs are the activations of one block that its backward pass needs.
// ln1, ln2, fc and gelu may lie in panels.
type layerActs struct {
	resid1       []float32 // (N, C), input of the block
	ln1          []float32 // (N, C)
	mean1, rstd1 []float32 // (N)
	qkv          []float32 // (N, 3*C)
	att          []float32 // (N, C), attention output before the projection
	lse          []float32 // (B, NH, T)
	resid2       []float32 // (N, C), between attention and MLP
	ln2          []float32 // (N, C)
	mean2, rstd2 []float32 // (N)
	fc           []float32 // (N, Inner), before GELU
	gelu         []float32 // (N, Inner)
	at           blockLayout
}

// headLogits caps the logits held at a time: 32 Mi numbers, 128 MiB. The three
// products of the head pack the whole embedding once per chunk of tokens, which
// at 64 tokens a chunk takes as long as the products.
const headLogits = 32 << 20

// headRows returns how many of n tokens have their logits computed at once:
// chunks of equal size.
func (m *Model) headRows(n int) int {
	most := max(kernels.PanelTokens, headLogits/m.Config.VocabSize)
	chunks := (n + most - 1) / most
	return (n + chunks - 1) / chunks
}

// grow returns s with length n, reallocated if it is too short.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}

// plan sizes the buffers for b sequences of t tokens.
func (m *Model) plan(b, t int) {
	a := &m.act
	c := m.Config
	n, C, inner := b*t, c.NEmbd, c.Inner()
	a.b, a.t = b, t
	if a.layers == nil {
		a.layers = make([]layerActs, c.NLayer)
	}
	rows := n // with the padding of panels, where there are any
	for i := range a.layers {
		a.layers[i].at = m.blocks[i].layoutOf(n)
		if a.layers[i].at.any() {
			rows = kernels.PanelLen(n, 1)
		}
	}
	for i := range a.layers {
		l := &a.layers[i]
		if m.Training.Recompute && i > 0 {
			// One block's activations serve all; only its input is kept.
			own, at := grow(l.resid1, n*C), l.at
			*l = a.layers[0]
			l.resid1, l.at = own, at
			continue
		}
		l.resid1 = grow(l.resid1, n*C)
		l.ln1 = grow(l.ln1, rows*C)
		l.mean1, l.rstd1 = grow(l.mean1, n), grow(l.rstd1, n)
		l.qkv = grow(l.qkv, n*3*C)
		l.att = grow(l.att, n*C)
		l.lse = grow(l.lse, n*c.NHead)
		l.resid2 = grow(l.resid2, n*C)
		l.ln2 = grow(l.ln2, rows*C)
		l.mean2, l.rstd2 = grow(l.mean2, n), grow(l.rstd2, n)
		l.fc = grow(l.fc, rows*inner)
		l.gelu = grow(l.gelu, rows*inner)
	}
	a.resid = grow(a.resid, n*C)
	a.lnf = grow(a.lnf, n*C)
	a.meanf, a.rstdf = grow(a.meanf, n), grow(a.rstdf, n)
	a.losses = grow(a.losses, n)
	a.logits = grow(a.logits, m.headRows(n)*c.VocabSize)
	a.sum = grow(a.sum, n*C)
}

// checkBatch validates ids against the vocabulary and the context length.
func (m *Model) checkBatch(ids []int32, b, t int) error {
	if b < 1 || t < 1 || len(ids) != b*t {
		return fmt.Errorf("gpt: batch: %d ids for %d sequences of %d tokens", len(ids), b, t)
	}
	if t > m.Config.NCtx {
		return fmt.Errorf("gpt: batch: %d tokens in a sequence, the model has %d positions", t, m.Config.NCtx)
	}
	for i, id := range ids {
		if id < 0 || int(id) >= m.Config.VocabSize {
			return fmt.Errorf("gpt: batch: token %d is %d, the vocabulary has %d", i, id, m.Config.VocabSize)
		}
	}
	return nil
}

// Forward runs b sequences of t tokens through the blocks and the final
// LayerNorm, and keeps what Backward needs. ids is (b, t). It returns an error
// if an id is outside the vocabulary or t is longer than the context.
func (m *Model) Forward(ids []int32, b, t int) error {
	if err := m.checkBatch(ids, b, t); err != nil {
		return err
	}
	return m.forward(ids, b, t, false)
}

// stream returns the residual stream that enters block i, or that leaves the
// last one.
func (m *Model) stream(i int) []float32 {
	if i < len(m.act.layers) {
		return m.act.layers[i].resid1
	}
	return m.act.resid
}

// forwardBlock computes block i on the batch of the plan.
func (m *Model) forwardBlock(i int, train bool) {
	c, a := m.Config, &m.act
	n := a.b * a.t
	p, l := &m.blocks[i], &a.layers[i]
	m.normalise(l.ln1, l.mean1, l.rstd1, l.resid1, p.ln1W.W, p.ln1B.W, l.at.qkv.in)
	m.enter(StageQKV, i, false)
	linear(l.qkv, l.ln1, p.attnW, p.attnB, n, l.at.qkv, kernels.Epilogue{})
	m.enter(StageAttention, i, false)
	kernels.AttentionForward(l.att, l.lse, l.qkv, a.b, a.t, c.NHead, c.HeadSize())
	m.enter(StageProj, i, false)
	m.endBranch(i, attentionSite(i), l.resid2, l.resid1, l.att, p.projW, p.projB, layout{}, train)
	m.normalise(l.ln2, l.mean2, l.rstd2, l.resid2, p.ln2W.W, p.ln2B.W, l.at.fc.in)
	m.enter(StageFC, i, false)
	linear(l.fc, l.ln2, p.fcW, p.fcB, n, l.at.fc, kernels.Epilogue{GELU: l.gelu})
	m.enter(StageOut, i, false)
	m.endBranch(i, mlpSite(i), m.stream(i+1), l.resid2, l.gelu, p.outW, p.outB, l.at.out, train)
}

// endBranch computes dst (N, C), the stream from with the output of a branch of
// block i added, which in training may be dropped at site, and enters StageOther.
func (m *Model) endBranch(i, site int, dst, from, x []float32, w, bias *Param, at layout, train bool) {
	a, C := &m.act, m.Config.NEmbd
	n := a.b * a.t
	if !train || m.Training.Dropout == 0 {
		linear(dst, x, w, bias, n, at, kernels.Epilogue{Residual: from})
		m.enter(StageOther, i, false)
		return
	}
	linear(a.sum, x, w, bias, n, at, kernels.Epilogue{})
	m.enter(StageOther, i, false)
	m.drop(a.sum[:n*C], site, a.t*C)
	kernels.Add(dst, from, a.sum)
}

// normalise is the LayerNorm at the head of a branch, into panels if so wanted:
// by way of sum, which holds nothing there.
func (m *Model) normalise(dst, mean, rstd, x, weight, bias []float32, panels bool) {
	a := &m.act
	n, C := a.b*a.t, m.Config.NEmbd
	to := dst
	if panels {
		to = a.sum
	}
	kernels.LayerNormForward(to, mean, rstd, x, weight, bias, n, C, float32(m.Config.LayerNormEps))
	if panels {
		kernels.PackPanels(dst, to, C, n, C)
	}
}

// forward is Forward on a batch that has been checked, as in training if train
// is set.
func (m *Model) forward(ids []int32, b, t int, train bool) error {
	m.plan(b, t)
	c, a := m.Config, &m.act
	n, C := b*t, c.NEmbd
	eps := float32(c.LayerNormEps)
	m.enter(StageOther, 0, false)
	kernels.EmbeddingForward(m.stream(0), ids, m.wte.W, m.wpe.W, t, C)
	if train {
		m.drop(m.stream(0)[:n*C], embeddingSite, t*C)
	}
	for i := range m.blocks {
		if err := m.interrupted(); err != nil {
			return err
		}
		m.forwardBlock(i, train)
	}
	kernels.LayerNormForward(a.lnf, a.meanf, a.rstdf, a.resid, m.lnfW.W, m.lnfB.W, n, C, eps)
	return nil
}

// Loss runs a forward pass and returns the sum of the cross-entropies in nats
// over the targets that are not negative, and their number. ids and targets
// are (b, t).
func (m *Model) Loss(ids, targets []int32, b, t int) (sum float64, count int, err error) {
	if err := m.checkTargets(ids, targets, b, t); err != nil {
		return 0, 0, err
	}
	if err := m.forward(ids, b, t, false); err != nil {
		return 0, 0, err
	}
	return m.head(targets, 0, false)
}

// LossAndGrad is Loss followed by the backward pass: it adds scale times the
// gradient of the sum of the losses to every Grad. For the mean over a global
// batch, scale is one over the targets counted in all of it.
func (m *Model) LossAndGrad(ids, targets []int32, b, t int, scale float32) (sum float64, count int, err error) {
	if err := m.checkTargets(ids, targets, b, t); err != nil {
		return 0, 0, err
	}
	if err := m.forward(ids, b, t, true); err != nil {
		return 0, 0, err
	}
	if m.Trainable()[0].Grad == nil {
		m.ZeroGrad()
	}
	a := &m.act
	n, C := b*t, m.Config.NEmbd
	a.dresid = grow(a.dresid, n*C)
	a.dtmp = grow(a.dtmp, max(n*3*C, len(a.layers[0].gelu)))
	a.dtmp2 = grow(a.dtmp2, n*C)
	if sum, count, err = m.head(targets, scale, true); err != nil {
		return 0, 0, err
	}
	return sum, count, m.backward(ids)
}

// LossLast returns the cross-entropy of each target of the last Loss or
// LossAndGrad, (b, t); 0 where the target was negative. Valid until the next pass.
func (m *Model) LossLast() []float32 { return m.act.losses[:m.act.b*m.act.t] }

// checkTargets validates a batch with its targets.
func (m *Model) checkTargets(ids, targets []int32, b, t int) error {
	if err := m.checkBatch(ids, b, t); err != nil {
		return err
	}
	if len(targets) != len(ids) {
		return fmt.Errorf("gpt: batch: %d targets for %d ids", len(targets), len(ids))
	}
	for i, id := range targets {
		if int(id) >= m.Config.VocabSize {
			return fmt.Errorf("gpt: batch: target %d is %d, the vocabulary has %d", i, id, m.Config.VocabSize)
		}
	}
	return nil
}

// head computes the tied LM head and its loss chunk by chunk, so that the
// logits are never whole in memory. With grad it leaves the gradient of the
// final LayerNorm's output in dtmp2 and adds to the gradient of wte.
func (m *Model) head(targets []int32, scale float32, grad bool) (sum float64, count int, err error) {
	a := &m.act
	n, C, V := a.b*a.t, m.Config.NEmbd, m.Config.VocabSize
	rows := m.headRows(n)
	for lo := 0; lo < n; lo += rows {
		if err := m.interrupted(); err != nil {
			return 0, 0, err
		}
		hi := min(lo+rows, n)
		k := hi - lo
		x := a.lnf[lo*C : hi*C]
		m.enter(StageHead, 0, false)
		m.precision.GemmNT(a.logits, V, x, C, m.wte.W, C, k, V, C, false)
		m.enter(StageOther, 0, false)
		losses := a.losses[lo:hi]
		if !grad {
			kernels.CrossEntropy(losses, a.logits[:k*V], targets[lo:hi], k, V)
			continue
		}
		if m.Training.shapes() {
			a.picked = grow(a.picked, k)
			pickTargets(a.picked, a.logits, targets[lo:hi], V)
		}
		kernels.SoftmaxCrossEntropy(losses, a.logits[:k*V], targets[lo:hi], k, V, scale)
		if m.Training.shapes() {
			s := &a.shaping
			s.t, s.d, s.losses, s.picked, s.targets, s.v, s.scale = &m.Training, a.logits, losses, a.picked, targets[lo:hi], V, scale
			s.run(k)
		}
		m.enter(StageHead, 0, true)
		m.precision.GemmNN(a.dtmp2[lo*C:], C, a.logits, V, m.wte.W, C, k, C, V, false)
		if m.wte.Grad != nil {
			m.precision.GemmTN(m.wte.Grad, C, a.logits, V, x, C, V, C, k, true)
		}
		m.enter(StageOther, 0, true)
	}
	for i, l := range a.losses[:n] {
		if targets[i] >= 0 {
			sum += float64(l)
			count++
		}
	}
	return sum, count, nil
}

// backward propagates the gradient in dtmp2 through the whole model.
func (m *Model) backward(ids []int32) error {
	c, a := m.Config, &m.act
	n, C, inner := a.b*a.t, c.NEmbd, c.Inner()
	dres := a.dresid[:n*C]
	clear(dres)
	kernels.LayerNormBackward(dres, m.gradOf(m.lnfW), m.gradOf(m.lnfB), a.dtmp2, a.resid, m.lnfW.W, a.meanf, a.rstdf, n, C)
	for i := len(m.blocks) - 1; i >= 0; i-- {
		if err := m.interrupted(); err != nil {
			return err
		}
		if m.Training.Recompute && i < len(m.blocks)-1 {
			m.forwardBlock(i, true)
		}
		p, l := &m.blocks[i], &a.layers[i]
		wide := l.at.out.rows(n) * inner
		dwide := a.dtmp[:wide]
		dy := m.dropped(dres, mlpSite(i))
		m.enter(StageOut, i, true)
		linearBackward(dwide, dy, l.gelu, p.outW, p.outB, n, l.at.out, l.fc[:wide])
		m.enter(StageFC, i, true)
		linearBackward(a.dtmp2, dwide, l.ln2, p.fcW, p.fcB, n, l.at.fc, nil)
		m.enter(StageOther, i, true)
		kernels.LayerNormBackward(dres, m.gradOf(p.ln2W), m.gradOf(p.ln2B), a.dtmp2, l.resid2, p.ln2W.W, l.mean2, l.rstd2, n, C)

		dy = m.dropped(dres, attentionSite(i))
		m.enter(StageProj, i, true)
		linearBackward(a.dtmp2, dy, l.att, p.projW, p.projB, n, layout{}, nil)
		dqkv := a.dtmp[:n*3*C]
		m.enter(StageAttention, i, true)
		kernels.AttentionBackward(dqkv, a.dtmp2[:n*C], l.qkv[:n*3*C], l.att[:n*C], l.lse, a.b, a.t, c.NHead, c.HeadSize())
		m.enter(StageQKV, i, true)
		linearBackward(a.dtmp2, dqkv, l.ln1, p.attnW, p.attnB, n, l.at.qkv, nil)
		m.enter(StageOther, i, true)
		kernels.LayerNormBackward(dres, m.gradOf(p.ln1W), m.gradOf(p.ln1B), a.dtmp2, l.resid1, p.ln1W.W, l.mean1, l.rstd1, n, C)
	}
	m.drop(dres, embeddingSite, a.t*C)
	if m.wte.Grad != nil {
		kernels.EmbeddingBackward(m.wte.Grad, m.wpe.Grad, dres, ids, a.t, C)
	}
	return nil
}

// gradOf returns where the gradient of a LayerNorm's parameter goes: of a
// frozen one nowhere that is looked at.
func (m *Model) gradOf(p *Param) []float32 {
	if p.Grad != nil {
		return p.Grad
	}
	m.act.unused = grow(m.act.unused, len(p.W))
	return m.act.unused
}

// Logits runs a forward pass and writes the logits of every position to dst,
// (b, t, V).
func (m *Model) Logits(dst []float32, ids []int32, b, t int) error {
	V, C := m.Config.VocabSize, m.Config.NEmbd
	if len(dst) != b*t*V {
		return fmt.Errorf("gpt: logits: room for %d numbers, %d needed", len(dst), b*t*V)
	}
	if err := m.Forward(ids, b, t); err != nil {
		return err
	}
	m.precision.GemmNT(dst, V, m.act.lnf, C, m.wte.W, C, b*t, V, C, false)
	return nil
}
