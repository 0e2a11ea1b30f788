// Package eval measures the quality of a model: perplexity and decoding.
package eval

import (
	"context"
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/train/gpt"
)

// Perplexity is the quality of a model on a text or on several, with the
// windowing that produced it. What is not known or not a number is 0.
type Perplexity struct {
	Loss           float64 `json:"loss"`            // mean cross-entropy in nats per predicted token
	Perplexity     float64 `json:"perplexity"`      // exp(Loss), per token
	WordPerplexity float64 `json:"word_perplexity"` // exp(total loss / Words)
	BytePerplexity float64 `json:"byte_perplexity"` // exp(total loss / Bytes)
	BitsPerByte    float64 `json:"bits_per_byte"`   // total loss in bits / Bytes
	Tokens         int     `json:"tokens"`          // predicted
	Bytes          int     `json:"bytes"`           // of the text; 0: unknown
	Words          int     `json:"words"`           // of the text; 0: unknown
	Documents      int     `json:"documents"`
	Window         int     `json:"window"`
	Stride         int     `json:"stride"`
	BOS            string  `json:"bos"` // BOSNone or BOSEndOfText

	sum float64
}

// Rules of what precedes a document: nothing, so that its first token has no
// prediction, or the end-of-text token, which predicts it.
const (
	BOSNone      = "none"
	BOSEndOfText = "eot"
)

// Document is a text whose tokens see nothing of other texts. Bytes and Words, of
// the text that the tokens encode, may be 0 for unknown.
type Document struct {
	IDs          []int32
	Bytes, Words int
}

// Windows says how a document is cut.
type Windows struct {
	Size   int // tokens that a window holds
	Stride int // tokens that it moves on
	// BOS is the id in front of every document: GPT-2's <|endoftext|>. Negative:
	// none. It takes a place in the first window.
	BOS int32
}

// MeasurePerplexity slides a window over the tokens of each document and predicts
// each exactly once, but for the first of a document without a BOS:
//
//	loss = -1/n * sum of log p(ids[i] | up to Size-1 ids before it in its window)
//
// The first window predicts all of its tokens; each later one starts Stride
// tokens further and predicts only its last ones, so that they see at least
// Size-Stride tokens of context. The total is over all documents; each has its own
// result too. A document of one token, without a BOS, has nothing to predict, and
// its bytes and words do not count. progress, if not nil, is told the tokens done.
//
// Source: the strided evaluation of Radford et al. 2019 as documented for
// Hugging Face's fixed-length models; word and byte perplexity as in EleutherAI's
// evaluation harness.
func MeasurePerplexity(ctx context.Context, m *gpt.Model, documents []Document, w Windows, progress func(done int)) (total Perplexity, each []Perplexity, err error) {
	if w.Size < 2 || w.Size > m.Config.NCtx {
		return total, nil, fmt.Errorf("eval: window is %d, the model takes 2 to %d", w.Size, m.Config.NCtx)
	}
	if w.Stride < 1 || w.Stride > w.Size {
		return total, nil, fmt.Errorf("eval: stride is %d, outside 1 to the window of %d", w.Stride, w.Size)
	}
	m.Interrupt(ctx.Err)
	each = make([]Perplexity, len(documents))
	for i, d := range documents {
		ids := d.IDs
		if w.BOS >= 0 {
			ids = append([]int32{w.BOS}, ids...)
		}
		base := total.Tokens
		p, err := slide(m, ids, w, func(done int) {
			if progress != nil {
				progress(base + done)
			}
		})
		if err != nil {
			if len(documents) > 1 {
				err = fmt.Errorf("document %d: %w", i+1, err)
			}
			return total, nil, err
		}
		if p.Tokens > 0 {
			p.Bytes, p.Words, p.Documents = d.Bytes, d.Words, 1
		}
		total.sum += p.sum
		total.Tokens += p.Tokens
		total.Bytes += p.Bytes
		total.Words += p.Words
		total.Documents += p.Documents
		if err := p.finish(w); err != nil {
			return total, nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		each[i] = p
	}
	if total.Tokens == 0 {
		n := 0
		for _, d := range documents {
			n += len(d.IDs)
		}
		return total, nil, fmt.Errorf("eval: %d documents with %d tokens, at least 2 in one are needed", len(documents), n)
	}
	return total, each, total.finish(w)
}

// slide sums the losses of one document.
func slide(m *gpt.Model, ids []int32, w Windows, progress func(done int)) (Perplexity, error) {
	var p Perplexity
	targets := make([]int32, w.Size)
	for start := 0; p.Tokens < len(ids)-1; start += w.Stride { // ids[1:1+p.Tokens] are predicted
		t := min(start+w.Size, len(ids)-1) - start
		for i := range t {
			targets[i] = ids[start+i+1]
			if start+i < p.Tokens {
				targets[i] = -1 // an earlier window has predicted it
			}
		}
		l, n, err := m.Loss(ids[start:start+t], targets[:t], 1, t)
		if err != nil {
			return p, err
		}
		p.sum += l
		p.Tokens += n
		progress(p.Tokens)
	}
	return p, nil
}

// finish computes the means from the sums.
func (p *Perplexity) finish(w Windows) error {
	p.Window, p.Stride, p.BOS = w.Size, w.Stride, BOSNone
	if w.BOS >= 0 {
		p.BOS = BOSEndOfText
	}
	if p.Tokens == 0 {
		return nil
	}
	p.Loss = p.sum / float64(p.Tokens)
	p.Perplexity = math.Exp(p.Loss)
	if math.IsNaN(p.Loss) || math.IsInf(p.Perplexity, 0) {
		return fmt.Errorf("eval: the loss is %g, the perplexity %g", p.Loss, p.Perplexity)
	}
	if p.Bytes > 0 {
		p.BytePerplexity = finite(math.Exp(p.sum / float64(p.Bytes)))
		p.BitsPerByte = p.sum / math.Ln2 / float64(p.Bytes)
	}
	if p.Words > 0 {
		p.WordPerplexity = finite(math.Exp(p.sum / float64(p.Words)))
	}
	return nil
}

// finite returns 0, unknown, for what JSON has no number for: a word of many bad
// tokens can be beyond float64.
func finite(x float64) float64 {
	if math.IsInf(x, 0) {
		return 0
	}
	return x
}
