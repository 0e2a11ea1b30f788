package kernels

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// The code of a tile: pairs of rows that are walked together, each
//
//	a, b, shared, own, left        the header: two rows, three counts
//	column of both                 shared times: two values, of a and of b
//	column of a, column of b       own times: two values
//	column of a                    left times: one value
//
// A shared column costs one load of x for two multiply-adds. A row without a
// partner has b = a and left only. Columns are multiplied by panelUnit.
const (
	pairHeader = 5
	// panelUnit is the distance of two features of a panel in units of 8 bytes,
	// which amd64 can scale an index by.
	panelUnit = PanelTokens * 4 / 8
)

// codeLen returns the length of a pair's code after its header.
func codeLen(shared, own, left int) int { return shared + 2*own + left }

// rowBits are the kept columns of a row within a slab.
type rowBits [blockRows / 64]uint64

// encode returns the code of the tile at row r0 and column c0.
func (p *pairing) encode(m bitMatrix, r0, c0, slab int) []uint16 {
	p.read(m, r0, c0, slab)
	pairs := p.match()
	// Loops of equal length behind each other are what the branch predictor
	// needs.
	slices.SortStableFunc(pairs, func(x, y pair) int {
		return cmp.Or(cmp.Compare(p.ones[y.a]+p.ones[y.b], p.ones[x.a]+p.ones[x.b]), cmp.Compare(y.shared, x.shared))
	})
	size := 0
	for _, q := range pairs {
		size += pairHeader + codeLen(q.shared, q.own, q.left)
	}
	code := make([]uint16, 0, size)
	for _, q := range pairs {
		code = p.emit(code, q)
	}
	return code
}

// emit appends the code of a pair.
func (p *pairing) emit(code []uint16, q pair) []uint16 {
	code = append(code, uint16(q.a), uint16(q.b), uint16(q.shared), uint16(q.own), uint16(q.left))
	var both, ownA, ownB rowBits
	for i := range both {
		a, b := p.row[q.a][i], p.row[q.b][i]
		if q.a == q.b {
			b = 0
		}
		both[i], ownA[i], ownB[i] = a&b, a&^b, b&^a
	}
	for range q.shared {
		code = append(code, both.next())
	}
	for range q.own {
		code = append(code, ownA.next(), ownB.next())
	}
	for range q.left {
		code = append(code, ownA.next())
	}
	return code
}

// next takes the lowest column out of a set that is not empty.
func (a *rowBits) next() uint16 {
	i := 0
	for a[i] == 0 {
		i++
	}
	j := 64*i + bits.TrailingZeros64(a[i])
	a[i] &= a[i] - 1
	return uint16(j * panelUnit)
}

// eachPlace calls f for every kept place of a tile, in the order of the values.
func eachPlace(code []uint16, f func(row, col int)) {
	for len(code) > 0 {
		a, b := int(code[0]), int(code[1])
		shared, own, left := int(code[2]), int(code[3]), int(code[4])
		code = code[pairHeader:]
		for _, j := range code[:shared] {
			f(a, int(j/panelUnit))
			f(b, int(j/panelUnit))
		}
		for i := range own {
			f(a, int(code[shared+2*i]/panelUnit))
			f(b, int(code[shared+2*i+1]/panelUnit))
		}
		for _, j := range code[shared+2*own:][:left] {
			f(a, int(j/panelUnit))
		}
		code = code[codeLen(shared, own, left):]
	}
}

// gatherTile reads the values of a tile out of a dense matrix.
func gatherTile(dst, dense []float32, rowStride, colStride int, code []uint16) {
	k := 0
	for len(code) > 0 {
		a, b := int(code[0])*rowStride, int(code[1])*rowStride
		shared, own, left := int(code[2]), int(code[3]), int(code[4])
		code = code[pairHeader:]
		for _, j := range code[:shared] {
			at := int(j/panelUnit) * colStride
			dst[k], dst[k+1] = dense[a+at], dense[b+at]
			k += 2
		}
		for i := range own {
			dst[k] = dense[a+int(code[shared+2*i]/panelUnit)*colStride]
			dst[k+1] = dense[b+int(code[shared+2*i+1]/panelUnit)*colStride]
			k += 2
		}
		for _, j := range code[shared+2*own:][:left] {
			dst[k] = dense[a+int(j/panelUnit)*colStride]
			k++
		}
		code = code[codeLen(shared, own, left):]
	}
}

// scatterTile is the inverse of gatherTile.
func scatterTile(dense, src []float32, rowStride, colStride int, code []uint16) {
	k := 0
	for len(code) > 0 {
		a, b := int(code[0])*rowStride, int(code[1])*rowStride
		shared, own, left := int(code[2]), int(code[3]), int(code[4])
		code = code[pairHeader:]
		for _, j := range code[:shared] {
			at := int(j/panelUnit) * colStride
			dense[a+at], dense[b+at] = src[k], src[k+1]
			k += 2
		}
		for i := range own {
			dense[a+int(code[shared+2*i]/panelUnit)*colStride] = src[k]
			dense[b+int(code[shared+2*i+1]/panelUnit)*colStride] = src[k+1]
			k += 2
		}
		for _, j := range code[shared+2*own:][:left] {
			dense[a+int(j/panelUnit)*colStride] = src[k]
			k++
		}
		code = code[codeLen(shared, own, left):]
	}
}

// bitMatrix is a mask of n rows of width columns, each row padded to bytes.
type bitMatrix struct {
	n, width int
	bits     []byte
}

// slab writes columns c0 to c0+slab of row r; c0 and slab are multiples of 8.
func (m bitMatrix) slab(dst *rowBits, r, c0, slab int) {
	stride := ceilDiv(m.width, 8)
	row := m.bits[r*stride:][:stride]
	lo, hi := c0/8, min(stride, (c0+slab)/8)
	var padded [blockRows / 8]byte
	copy(padded[:], row[lo:hi])
	if rest := m.width % 8; rest != 0 && hi == stride {
		padded[hi-1-lo] &= 1<<rest - 1
	}
	for i := range dst {
		dst[i] = binary.LittleEndian.Uint64(padded[8*i:])
	}
}

// count returns the number of set bits.
func (m bitMatrix) count() (n int) {
	var row rowBits
	for r := range m.n {
		for c := 0; c < m.width; c += blockRows {
			m.slab(&row, r, c, blockRows)
			for _, v := range row {
				n += bits.OnesCount64(v)
			}
		}
	}
	return n
}

// transposed returns the transpose, made of 8 × 8 squares in parallel.
func (m bitMatrix) transposed() bitMatrix {
	from, to := ceilDiv(m.width, 8), ceilDiv(m.n, 8)
	t := bitMatrix{n: m.width, width: m.n, bits: make([]byte, m.width*to)}
	Parallel(from, func(c int) {
		for r := range to {
			var square uint64
			for i := range min(8, m.n-8*r) {
				square |= uint64(m.bits[(8*r+i)*from+c]) << (8 * i)
			}
			square = transpose8x8(square)
			for j := range min(8, m.width-8*c) {
				t.bits[(8*c+j)*to+r] = byte(square >> (8 * j))
			}
		}
	})
	return t
}

// transpose8x8 transposes a square of bits whose rows are bytes, by swapping
// squares of 1, 2 and 4 across the diagonal.
//
// Source: Warren, "Hacker's Delight", section 7-3.
func transpose8x8(x uint64) uint64 {
	for _, s := range [3]struct {
		mask  uint64
		shift int
	}{{0x00AA00AA00AA00AA, 7}, {0x0000CCCC0000CCCC, 14}, {0x00000000F0F0F0F0, 28}} {
		t := (x ^ x>>s.shift) & s.mask
		x ^= t ^ t<<s.shift
	}
	return x
}
