package convert

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

// Examined is what reading a tensor tells.
type Examined struct {
	Zeros    int64  // elements that are 0 or -0
	Elements int64  // those that were counted; 0 for types of less than a byte and block types
	SHA256   string // of the bytes, in hex
}

// Examine reads a tensor, counts its zeros, and computes the SHA-256 of its
// contiguous little-endian bytes if hash is set.
func Examine(t stored.Tensor, hash bool) (Examined, error) {
	counter := &zeroCounter{mask: valueMask(t.DType)}
	sum := sha256.New()
	var w io.Writer = counter
	if hash {
		w = io.MultiWriter(counter, sum)
	}
	if err := t.Emit(w); err != nil {
		return Examined{}, fmt.Errorf("convert: %w", err)
	}
	e := Examined{Zeros: counter.zeros}
	if size := len(counter.mask); size > 0 {
		e.Elements = t.Bytes / int64(size)
	}
	if hash {
		e.SHA256 = hex.EncodeToString(sum.Sum(nil))
	}
	return e, nil
}

// valueMask returns the bits of an element that are 0 if its value is: all but
// the signs of floats. It is empty for types of less than a byte and for block
// types.
func valueMask(d formats.DType) []byte {
	if d.Bits()%8 != 0 {
		return nil
	}
	mask := bytes.Repeat([]byte{0xff}, d.Bits()/8)
	switch d {
	case formats.F64, formats.F32, formats.F16, formats.BF16, formats.F8E4M3, formats.F8E5M2:
		mask[len(mask)-1] = 0x7f
	case formats.C64:
		mask[3], mask[7] = 0x7f, 0x7f
	}
	return mask
}

// zeroCounter counts elements that are zero.
type zeroCounter struct {
	mask  []byte
	zeros int64
	rest  []byte
}

func (z *zeroCounter) Write(p []byte) (int, error) {
	n, size := len(p), len(z.mask)
	if size == 0 {
		return n, nil
	}
	if len(z.rest) > 0 {
		need := min(size-len(z.rest), len(p))
		z.rest = append(z.rest, p[:need]...)
		p = p[need:]
		if len(z.rest) < size {
			return n, nil
		}
		z.count(z.rest)
		z.rest = z.rest[:0]
	}
	whole := len(p) / size * size
	z.count(p[:whole])
	z.rest = append(z.rest, p[whole:]...)
	return n, nil
}

// page is what is compared with zeros at once: most of a sparse file is holes.
var page [4096]byte

func (z *zeroCounter) count(p []byte) {
	size := len(z.mask)
	for len(p) > 0 {
		part := p[:min(len(p), len(page)/size*size)]
		p = p[len(part):]
		if bytes.Equal(part, page[:len(part)]) {
			z.zeros += int64(len(part) / size)
			continue
		}
		for ; len(part) > 0; part = part[size:] {
			any := byte(0)
			for i, m := range z.mask {
				any |= part[i] & m
			}
			if any == 0 {
				z.zeros++
			}
		}
	}
}
