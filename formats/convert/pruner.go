package convert

import (
	"io"

	"github.com/spdfctl/spdfctl/masks"
)

// pruner sees what a mask prunes of a tensor whose bytes are written to it, in
// the order in which they are stored, and lets them through with +0 in these
// places. It holds one element at a time.
type pruner struct {
	w    io.Writer   // nil to look only
	mask *masks.Mask // of the stored tensor, see keptIn
	size int         // bytes of an element
	at   int         // the next element
	// awake is called for every pruned element that is not +0, every bit.
	awake func(e int)
	rest  []byte // of that element, as far as it has been written
	out   []byte
}

func (p *pruner) Write(b []byte) (int, error) {
	n := len(b)
	if len(p.rest) > 0 {
		k := min(p.size-len(p.rest), len(b))
		p.rest = append(p.rest, b[:k]...)
		b = b[k:]
		if len(p.rest) < p.size {
			return n, nil
		}
		if err := p.whole(p.rest); err != nil {
			return 0, err
		}
		p.rest = p.rest[:0]
	}
	k := len(b) / p.size * p.size
	if err := p.whole(b[:k]); err != nil {
		return 0, err
	}
	p.rest = append(p.rest, b[k:]...)
	return n, nil
}

// whole takes whole elements.
func (p *pruner) whole(b []byte) error {
	if p.w != nil {
		p.out = append(p.out[:0], b...) // a writer leaves what it is given as it is
		b = p.out
	}
	for rest := b; len(rest) > 0; {
		row, col := p.at/p.mask.In, p.at%p.mask.In
		n := min(64-col%64, p.mask.In-col, len(rest)/p.size)
		word := wordAt(p.mask.Row(row), col/64*8) >> (col % 64)
		if block := rest[:n*p.size]; prunedBits(block, word, p.size) != 0 {
			for k := range n {
				if e := block[k*p.size : (k+1)*p.size]; word>>k&1 == 0 && prunedBits(e, 0, p.size) != 0 {
					p.awake(p.at + k)
					if p.w != nil {
						clear(e)
					}
				}
			}
		}
		p.at += n
		rest = rest[n*p.size:]
	}
	if p.w == nil {
		return nil
	}
	_, err := p.w.Write(b)
	return err
}
