package gpt

import (
	"fmt"

	"github.com/spdfctl/spdfctl/kernels"
)

// Decoder produces the logits of one token after another, with the keys and
// values of the tokens so far kept. It reads the model only: several decoders
// may run at once on one model.
type Decoder struct {
	m    *Model
	n    int         // tokens so far
	k, v [][]float32 // per block (n, C)

	x, ln, qkv, att, sum, wide []float32
	stat                       [1]float32
	stat2                      [1]float32
	logits                     []float32
	interrupt
}

// NewDecoder returns a decoder at the start of a sequence.
func (m *Model) NewDecoder() *Decoder {
	C := m.Config.NEmbd
	d := &Decoder{
		m: m,
		k: make([][]float32, m.Config.NLayer), v: make([][]float32, m.Config.NLayer),
		x: make([]float32, C), ln: make([]float32, C), qkv: make([]float32, 3*C),
		att: make([]float32, C), sum: make([]float32, C), wide: make([]float32, m.Config.Inner()),
		logits: make([]float32, m.Config.VocabSize),
	}
	return d
}

// Len returns the number of tokens the decoder has seen.
func (d *Decoder) Len() int { return d.n }

// Reset forgets the tokens and keeps the buffers.
func (d *Decoder) Reset() {
	d.n = 0
	for i := range d.k {
		d.k[i], d.v[i] = d.k[i][:0], d.v[i][:0]
	}
}

// Next appends a token and returns the logits (V) of the one after it. The
// slice is valid until the next call. It returns an error if the context is
// full or the id is outside the vocabulary.
func (d *Decoder) Next(id int32) ([]float32, error) {
	if err := d.append(id); err != nil {
		return nil, err
	}
	m, C := d.m, d.m.Config.NEmbd
	kernels.LayerNormForward(d.ln, d.stat[:], d.stat2[:], d.x, m.lnfW.W, m.lnfB.W, 1, C, float32(m.Config.LayerNormEps))
	kernels.GemmNT(d.logits, m.Config.VocabSize, d.ln, C, m.wte.W, C, 1, m.Config.VocabSize, C, false)
	return d.logits, nil
}

// Prefill appends tokens and returns the logits after the last one.
func (d *Decoder) Prefill(ids []int32) ([]float32, error) {
	if len(ids) == 0 {
		return nil, fmt.Errorf("gpt: decoder: the prompt is empty")
	}
	for _, id := range ids[:len(ids)-1] {
		if err := d.append(id); err != nil {
			return nil, err
		}
	}
	return d.Next(ids[len(ids)-1])
}

// append runs one token through the blocks and leaves the stream in d.x.
func (d *Decoder) append(id int32) error {
	m, c := d.m, d.m.Config
	if d.n >= c.NCtx {
		return fmt.Errorf("gpt: decoder: %d tokens, the model has %d positions", d.n+1, c.NCtx)
	}
	if id < 0 || int(id) >= c.VocabSize {
		return fmt.Errorf("gpt: decoder: token %d is outside the vocabulary of %d", id, c.VocabSize)
	}
	if err := d.interrupted(); err != nil {
		return err
	}
	C, eps := c.NEmbd, float32(c.LayerNormEps)
	kernels.Add(d.x, m.wte.W[int(id)*C:][:C], m.wpe.W[d.n*C:][:C])
	d.n++
	for i := range m.blocks {
		p := &m.blocks[i]
		kernels.LayerNormForward(d.ln, d.stat[:], d.stat2[:], d.x, p.ln1W.W, p.ln1B.W, 1, C, eps)
		linear(d.qkv, d.ln, p.attnW, p.attnB, 1, layout{}, kernels.Epilogue{})
		d.k[i] = append(d.k[i], d.qkv[C:2*C]...)
		d.v[i] = append(d.v[i], d.qkv[2*C:]...)
		kernels.AttentionDecode(d.att, d.qkv[:C], d.k[i], d.v[i], d.n, c.NHead, c.HeadSize())
		linear(d.sum, d.att, p.projW, p.projB, 1, layout{}, kernels.Epilogue{})
		kernels.Add(d.x, d.x, d.sum)
		kernels.LayerNormForward(d.ln, d.stat[:], d.stat2[:], d.x, p.ln2W.W, p.ln2B.W, 1, C, eps)
		linear(d.wide, d.ln, p.fcW, p.fcB, 1, layout{}, kernels.Epilogue{})
		kernels.GELUForward(d.wide, d.wide)
		linear(d.sum, d.wide, p.outW, p.outB, 1, layout{}, kernels.Epilogue{})
		kernels.Add(d.x, d.x, d.sum)
	}
	return nil
}
