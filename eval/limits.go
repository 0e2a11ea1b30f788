package eval

import (
	"fmt"
	"math"
)

// Limits bounds one generated text.
type Limits struct {
	MaxTokens     int     // generated at most; the context may end earlier
	MinTokens     int     // generated before a stop token is allowed
	Stop          []int32 // ids that end the text and are not part of it
	NoRepeatNGram int     // no n-gram of this length appears twice; 0: any may
}

// Validate reports a setting outside its range.
func (l Limits) Validate() error {
	switch {
	case l.MaxTokens < 1:
		return fmt.Errorf("eval: %d tokens at most, want at least 1", l.MaxTokens)
	case l.MinTokens < 0 || l.MinTokens > l.MaxTokens:
		return fmt.Errorf("eval: %d tokens at least, outside 0 to the %d at most", l.MinTokens, l.MaxTokens)
	case l.NoRepeatNGram < 0:
		return fmt.Errorf("eval: no-repeat n-gram of %d is negative", l.NoRepeatNGram)
	}
	return nil
}

// ban sets the logits of tokens that must not follow before and then ids, which
// were generated, to minus infinity.
//
// Source: no-repeat n-grams as in fairseq, from Paulus, Xiong, Socher, 2017,
// section 2.5.
func (l Limits) ban(logits []float32, before, ids []int32) {
	none := float32(math.Inf(-1))
	if len(ids) < l.MinTokens {
		for _, id := range l.Stop {
			logits[id] = none
		}
	}
	n := l.NoRepeatNGram
	total := len(before) + len(ids)
	if n == 0 || total+1 < n {
		return
	}
	at := func(i int) int32 {
		if i < len(before) {
			return before[i]
		}
		return ids[i-len(before)]
	}
	for i := 0; i+n <= total; i++ {
		same := true
		for k := 0; k < n-1 && same; k++ {
			same = at(i+k) == at(total-n+1+k)
		}
		if same {
			logits[at(i+n-1)] = none
		}
	}
}

func errNaN(id int) error { return fmt.Errorf("eval: the logit of token %d is not a number", id) }
