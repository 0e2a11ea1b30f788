// Package eval measures the quality of a model: perplexity and decoding.
package eval

import (
	"context"
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/train/gpt"
)

// Perplexity is the quality of a model on a text, with the windowing that
// produced it.
type Perplexity struct {
	Loss        float64 `json:"loss"`          // mean cross-entropy in nats per predicted token
	Perplexity  float64 `json:"perplexity"`    // exp(Loss)
	BitsPerByte float64 `json:"bits_per_byte"` // total loss in bits over the bytes of the text
	Tokens      int     `json:"tokens"`        // predicted
	Bytes       int     `json:"bytes"`         // of the predicted tokens' text; 0: unknown
	Window      int     `json:"window"`
	Stride      int     `json:"stride"`
}

// MeasurePerplexity slides a window over ids and predicts every token but the
// first exactly once:
//
//	loss = -1/n * sum of log p(ids[i] | up to Window-1 ids before it in its window)
//
// The first window predicts all of its tokens; each later one starts stride
// tokens further and predicts only its last ones, so that they see at least
// window-stride tokens of context. No token is put in front: the first id has
// no prediction. textBytes is the length of the text in bytes, for bits per
// byte. progress, if not nil, is told the tokens done.
//
// Source: the strided evaluation of Radford et al. 2019 as documented for
// Hugging Face's fixed-length models.
func MeasurePerplexity(ctx context.Context, m *gpt.Model, ids []int32, window, stride, textBytes int, progress func(done int)) (Perplexity, error) {
	switch {
	case window < 2 || window > m.Config.NCtx:
		return Perplexity{}, fmt.Errorf("eval: window is %d, the model takes 2 to %d", window, m.Config.NCtx)
	case stride < 1 || stride > window:
		return Perplexity{}, fmt.Errorf("eval: stride is %d, outside 1 to the window of %d", stride, window)
	case len(ids) < 2:
		return Perplexity{}, fmt.Errorf("eval: %d tokens, at least 2 are needed", len(ids))
	}
	var sum float64
	done := 0 // ids[1:1+done] are predicted
	targets := make([]int32, window)
	for start := 0; done < len(ids)-1; start += stride {
		if err := ctx.Err(); err != nil {
			return Perplexity{}, err
		}
		end := min(start+window, len(ids)-1)
		t := end - start
		for i := range t {
			targets[i] = ids[start+i+1]
			if start+i < done {
				targets[i] = -1 // an earlier window has predicted it
			}
		}
		l, n, err := m.Loss(ids[start:end], targets[:t], 1, t)
		if err != nil {
			return Perplexity{}, err
		}
		sum += l
		done += n
		if progress != nil {
			progress(done)
		}
	}
	loss := sum / float64(done)
	p := Perplexity{Loss: loss, Perplexity: math.Exp(loss), Tokens: done, Bytes: textBytes, Window: window, Stride: stride}
	if textBytes > 0 {
		p.BitsPerByte = sum / math.Ln2 / float64(textBytes)
	}
	if math.IsNaN(loss) || math.IsInf(p.Perplexity, 0) {
		return Perplexity{}, fmt.Errorf("eval: the loss is %g, the perplexity %g", loss, p.Perplexity)
	}
	return p, nil
}
