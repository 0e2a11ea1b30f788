package gpt

import (
	"fmt"

	"github.com/spdfctl/spdfctl/kernels"
)

// BatchDecoder steps many texts of different lengths together, so that the
// weights are read once per step for all of them. It reads the model only.
//
// The logits of a text do not depend on the texts beside it nor on the number of
// threads, to the last bit; those of a Decoder, which sums in the order that suits
// one text, differ from them by rounding.
type BatchDecoder struct {
	m    *Model
	k, v [][]float32 // per block (slots, C): the keys and values of one token per slot
	uses []int32     // per slot: the texts that hold it
	free []int32     // slots without a text

	x, ln, qkv, att, sum, wide []float32
	mean, rstd, logits         []float32
	interrupt
}

// Text is a text in a BatchDecoder: the slots of its tokens.
type Text struct {
	d     *BatchDecoder
	slots []int32
}

// Input is what a step appends to one text.
type Input struct {
	Text *Text
	IDs  []int32 // at least one
}

// NewBatchDecoder returns a decoder without texts.
func (m *Model) NewBatchDecoder() *BatchDecoder {
	return &BatchDecoder{m: m, k: make([][]float32, m.Config.NLayer), v: make([][]float32, m.Config.NLayer)}
}

// NewText returns an empty text.
func (d *BatchDecoder) NewText() *Text { return &Text{d: d} }

// Len returns the number of tokens of the text.
func (t *Text) Len() int { return len(t.slots) }

// Fork returns a text with the tokens of t so far, whose keys and values it shares.
func (t *Text) Fork() *Text {
	for _, s := range t.slots {
		t.d.uses[s]++
	}
	return &Text{d: t.d, slots: append(make([]int32, 0, len(t.slots)+1), t.slots...)}
}

// Release gives back what only t holds; t is empty afterwards.
func (t *Text) Release() {
	for _, s := range t.slots {
		if t.d.uses[s]--; t.d.uses[s] == 0 {
			t.d.free = append(t.d.free, s)
		}
	}
	t.slots = t.slots[:0]
}

// minRows is the number of rows of a step at least: below it the products choose
// another order of sums, and a text would depend on its neighbours.
const minRows = 8

// Step appends the ids of every input to its text and returns the logits
// (len(inputs), V) after the last id of each. The slice is valid until the next
// step. No text may be in two inputs. It returns an error, and changes nothing, if
// a context is full or an id is outside the vocabulary, and that of Interrupt.
func (d *BatchDecoder) Step(inputs []Input) ([]float32, error) {
	c := d.m.Config
	n := 0
	for i, in := range inputs {
		switch {
		case len(in.IDs) == 0:
			return nil, fmt.Errorf("gpt: decoder: text %d: no ids to append", i+1)
		case in.Text.Len()+len(in.IDs) > c.NCtx:
			return nil, fmt.Errorf("gpt: decoder: text %d: %d tokens, the model has %d positions", i+1, in.Text.Len()+len(in.IDs), c.NCtx)
		}
		for _, id := range in.IDs {
			if id < 0 || int(id) >= c.VocabSize {
				return nil, fmt.Errorf("gpt: decoder: text %d: token %d is outside the vocabulary of %d", i+1, id, c.VocabSize)
			}
		}
		n += len(in.IDs)
	}
	d.plan(max(n, minRows), len(inputs))
	rows := make([][]int32, 0, n) // per token: the slots it sees, its own the last
	C := c.NEmbd
	for _, in := range inputs {
		for _, id := range in.IDs {
			at := len(rows)
			pos := in.Text.Len()
			kernels.Add(d.x[at*C:][:C], d.m.wte.W[int(id)*C:][:C], d.m.wpe.W[pos*C:][:C])
			in.Text.slots = append(in.Text.slots, d.take())
			rows = append(rows, in.Text.slots)
		}
	}
	if err := d.forward(rows); err != nil {
		return nil, err
	}
	return d.head(inputs), nil
}

// plan sizes the buffers for rows tokens of texts. Rows that no token fills hold
// numbers of earlier steps, which nothing reads.
func (d *BatchDecoder) plan(rows, texts int) {
	c := d.m.Config
	C := c.NEmbd
	d.x, d.ln, d.att, d.sum = grow(d.x, rows*C), grow(d.ln, rows*C), grow(d.att, rows*C), grow(d.sum, rows*C)
	d.qkv, d.wide = grow(d.qkv, rows*3*C), grow(d.wide, rows*c.Inner())
	d.mean, d.rstd = grow(d.mean, rows), grow(d.rstd, rows)
	d.logits = grow(d.logits, max(texts, minRows)*c.VocabSize)
}

// take returns a slot that no text holds.
func (d *BatchDecoder) take() int32 {
	if len(d.free) == 0 {
		have := len(d.uses)
		slots := max(256, 2*have)
		for i := range d.k {
			d.k[i] = append(make([]float32, 0, slots*d.m.Config.NEmbd), d.k[i]...)[:slots*d.m.Config.NEmbd]
			d.v[i] = append(make([]float32, 0, slots*d.m.Config.NEmbd), d.v[i]...)[:slots*d.m.Config.NEmbd]
		}
		d.uses = append(d.uses, make([]int32, slots-have)...)
		for s := slots - 1; s >= have; s-- {
			d.free = append(d.free, int32(s))
		}
	}
	s := d.free[len(d.free)-1]
	d.free = d.free[:len(d.free)-1]
	d.uses[s] = 1
	return s
}

// forward runs the tokens through the blocks and leaves the stream in d.x.
func (d *BatchDecoder) forward(rows [][]int32) error {
	m, c := d.m, d.m.Config
	n, C, inner, eps := max(len(rows), minRows), c.NEmbd, c.Inner(), float32(c.LayerNormEps)
	for i := range m.blocks {
		if err := d.interrupted(); err != nil {
			return err
		}
		p := &m.blocks[i]
		kernels.LayerNormForward(d.ln, d.mean, d.rstd, d.x, p.ln1W.W, p.ln1B.W, n, C, eps)
		linear(d.qkv, d.ln, p.attnW, p.attnB, n, layout{}, kernels.Epilogue{})
		k, v := d.k[i], d.v[i]
		for r, slots := range rows {
			own := int(slots[len(slots)-1]) * C
			copy(k[own:own+C], d.qkv[(3*r+1)*C:])
			copy(v[own:own+C], d.qkv[(3*r+2)*C:])
		}
		kernels.Parallel(len(rows), func(r int) {
			kernels.AttentionSlots(d.att[r*C:], d.qkv[3*r*C:], k, v, rows[r], c.NHead, c.HeadSize())
		})
		linear(d.sum, d.att, p.projW, p.projB, n, layout{}, kernels.Epilogue{})
		kernels.Add(d.x[:n*C], d.x[:n*C], d.sum[:n*C])
		kernels.LayerNormForward(d.ln, d.mean, d.rstd, d.x, p.ln2W.W, p.ln2B.W, n, C, eps)
		linear(d.wide, d.ln, p.fcW, p.fcB, n, layout{}, kernels.Epilogue{})
		// Row by row, so that a number's place in a vector does not depend on the
		// rows before it.
		kernels.Parallel(n, func(r int) {
			kernels.GELUForward(d.wide[r*inner:][:inner], d.wide[r*inner:][:inner])
		})
		linear(d.sum, d.wide, p.outW, p.outB, n, layout{}, kernels.Epilogue{})
		kernels.Add(d.x[:n*C], d.x[:n*C], d.sum[:n*C])
	}
	return nil
}

// head returns the logits after the last token of every input.
func (d *BatchDecoder) head(inputs []Input) []float32 {
	m, C, V := d.m, d.m.Config.NEmbd, d.m.Config.VocabSize
	n := max(len(inputs), minRows)
	end := 0
	for i, in := range inputs {
		end += len(in.IDs)
		copy(d.x[i*C:][:C], d.x[(end-1)*C:][:C])
	}
	kernels.LayerNormForward(d.ln, d.mean, d.rstd, d.x, m.lnfW.W, m.lnfB.W, n, C, float32(m.Config.LayerNormEps))
	kernels.GemmNT(d.logits, V, d.ln, C, m.wte.W, C, n, V, C, false)
	return d.logits[:len(inputs)*V]
}
