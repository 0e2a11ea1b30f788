package train

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
)

// tensorHash is the hash of one part of the state.
type tensorHash struct {
	name string
	sum  [sha256.Size]byte
}

// hashes returns the hashes of the weights, moments and masks of r.
func (r *Run) hashes() []tensorHash {
	var list []tensorHash
	for i, p := range r.params {
		list = append(list,
			tensorHash{p.Name, hashFloats(p.W)},
			tensorHash{"m." + p.Name, hashFloats(r.opt.M[i])},
			tensorHash{"v." + p.Name, hashFloats(r.opt.V[i])})
	}
	if r.Model.Masks != nil {
		for _, m := range r.Model.Masks.Masks {
			list = append(list, tensorHash{"mask of " + m.Key(), m.SHA256()})
		}
	}
	return list
}

func hashFloats(x []float32) (sum [sha256.Size]byte) {
	h := sha256.New()
	var buf [4096]byte
	for len(x) > 0 {
		n := min(len(x), len(buf)/4)
		for i, v := range x[:n] {
			binary.LittleEndian.PutUint32(buf[4*i:], math.Float32bits(v))
		}
		h.Write(buf[:4*n])
		x = x[n:]
	}
	h.Sum(sum[:0])
	return sum
}
