package convert

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"

	"github.com/spdfctl/spdfctl/masks"
)

// packedRows are the rows of a matrix as they are packed: the kept elements, of
// size bytes each, of one row after the other.
type packedRows struct {
	mask   *masks.Mask
	counts []int // kept elements of every row
	size   int
}

func newPackedRows(m *masks.Mask, size int) packedRows {
	return packedRows{m, m.RowCounts(), size}
}

// line returns the bytes of a row that is not packed.
func (r packedRows) line() int { return r.mask.In * r.size }

// kept returns the bytes of rows first to end as they are packed.
func (r packedRows) kept(first, end int) int {
	n := 0
	for _, c := range r.counts[first:end] {
		n += c
	}
	return n * r.size
}

// share calls f for every row from first to end with the place where its kept
// elements begin, counted in bytes from those of first. Workers have whole rows.
func (r packedRows) share(first, end int, f func(row, at int)) {
	rows := max(1, bytesPerWorker/r.line())
	parts := (end - first + rows - 1) / rows
	starts := make([]int, parts)
	for k := 1; k < parts; k++ {
		starts[k] = starts[k-1] + r.kept(first+(k-1)*rows, first+k*rows)
	}
	each(parts, func(k int) {
		at := starts[k]
		for row := first + k*rows; row < min(first+(k+1)*rows, end); row++ {
			f(row, at)
			at += r.counts[row] * r.size
		}
	})
}

// pack copies the kept elements of rows first to end from src to dst. It returns
// the first row that has a pruned element which is not zero, every bit, or -1.
func (r packedRows) pack(dst, src []byte, first, end int) int {
	line := r.line()
	awake := make([]bool, end-first)
	r.share(first, end, func(row, at int) {
		n := r.counts[row] * r.size
		awake[row-first] = !packRow(dst[at:at+n], src[(row-first)*line:][:line], r.mask.Row(row), r.size)
	})
	for i, bad := range awake {
		if bad {
			return first + i
		}
	}
	return -1
}

// expand is the inverse of pack; dst is all zeros.
func (r packedRows) expand(dst, src []byte, first, end int) {
	line := r.line()
	r.share(first, end, func(row, at int) {
		n := r.counts[row] * r.size
		expandRow(dst[(row-first)*line:][:line], src[at:at+n], r.mask.Row(row), r.size)
	})
}

// wordAt returns 64 bits of a row from byte at on, zeros past its end.
func wordAt(row []byte, at int) uint64 {
	if at+8 <= len(row) {
		return binary.LittleEndian.Uint64(row[at:])
	}
	var word [8]byte
	copy(word[:], row[at:])
	return binary.LittleEndian.Uint64(word[:])
}

// packRow copies the elements of src whose bits are set to dst, and reports
// whether the others are zero.
func packRow(dst, src, row []byte, size int) bool {
	lost := uint64(0)
	for at := 0; at < len(row); at += 8 {
		word := wordAt(row, at)
		block := src[8*at*size:]
		block = block[:min(64*size, len(block))]
		lost |= prunedBits(block, word, size)
		switch size {
		case 2:
			for ; word != 0; word &= word - 1 {
				e := bits.TrailingZeros64(word)
				binary.LittleEndian.PutUint16(dst, binary.LittleEndian.Uint16(block[2*e:]))
				dst = dst[2:]
			}
		case 4:
			for ; word != 0; word &= word - 1 {
				e := bits.TrailingZeros64(word)
				binary.LittleEndian.PutUint32(dst, binary.LittleEndian.Uint32(block[4*e:]))
				dst = dst[4:]
			}
		default:
			for ; word != 0; word &= word - 1 {
				e := bits.TrailingZeros64(word)
				copy(dst[:size], block[e*size:])
				dst = dst[size:]
			}
		}
	}
	return lost == 0
}

// expandRow copies src to the elements of dst whose bits are set.
func expandRow(dst, src, row []byte, size int) {
	for at := 0; at < len(row); at += 8 {
		word := wordAt(row, at)
		block := dst[8*at*size:]
		switch size {
		case 2:
			for ; word != 0; word &= word - 1 {
				e := bits.TrailingZeros64(word)
				binary.LittleEndian.PutUint16(block[2*e:], binary.LittleEndian.Uint16(src))
				src = src[2:]
			}
		case 4:
			for ; word != 0; word &= word - 1 {
				e := bits.TrailingZeros64(word)
				binary.LittleEndian.PutUint32(block[4*e:], binary.LittleEndian.Uint32(src))
				src = src[4:]
			}
		default:
			for ; word != 0; word &= word - 1 {
				e := bits.TrailingZeros64(word)
				copy(block[e*size:], src[:size])
				src = src[size:]
			}
		}
	}
}

// prunedBits joins the bits of up to 64 elements whose bit in word is not set.
func prunedBits(block []byte, word uint64, size int) uint64 {
	lost := uint64(0)
	if table := lanes[size]; len(block) == 64*size {
		for k := 0; k < len(block); k += 8 {
			lost |= binary.LittleEndian.Uint64(block[k:k+8]) &^ table[word&uint64(len(table)-1)]
			word >>= 8 / size
		}
		return lost
	}
	for ; len(block) >= size; block = block[size:] {
		if word&1 == 0 {
			for _, v := range block[:size] {
				lost |= uint64(v)
			}
		}
		word >>= 1
	}
	return lost
}

// lanes are, for elements of 1, 2, 4 and 8 bytes, the bits in eight bytes of
// those elements that a bit is set of.
var lanes = [9][]uint64{1: laneBits(1), 2: laneBits(2), 4: laneBits(4), 8: laneBits(8)}

func laneBits(size int) []uint64 {
	table := make([]uint64, 1<<(8/size))
	for set := range table {
		for k := range 8 / size {
			if set>>k&1 != 0 {
				table[set] |= (1<<(8*size) - 1) << (8 * size * k)
			}
		}
	}
	return table
}

// packer lets through the kept elements of what is written to it. A pruned one
// that is not zero, every bit, is an error.
type packer struct {
	w    io.Writer
	name string
	rows packedRows
	row  int    // the next one
	rest []byte // of it, as far as it has been written
	out  []byte
}

func (s *packer) Write(b []byte) (int, error) {
	n, line := len(b), s.rows.line()
	if len(s.rest) > 0 {
		k := min(line-len(s.rest), len(b))
		s.rest = append(s.rest, b[:k]...)
		b = b[k:]
		if len(s.rest) == line {
			if err := s.pack(s.rest); err != nil {
				return 0, err
			}
			s.rest = s.rest[:0]
		}
	}
	whole := len(b) / line * line
	if err := s.pack(b[:whole]); err != nil {
		return 0, err
	}
	s.rest = append(s.rest, b[whole:]...)
	return n, nil
}

// pack writes whole rows.
func (s *packer) pack(b []byte) error {
	end := s.row + len(b)/s.rows.line()
	n := s.rows.kept(s.row, end)
	if cap(s.out) < n {
		s.out = make([]byte, n)
	}
	if row := s.rows.pack(s.out[:n], b, s.row, end); row >= 0 {
		return s.awake(b, row)
	}
	s.row = end
	_, err := s.w.Write(s.out[:n])
	return err
}

// awake says which element of a row of b is pruned and not zero.
func (s *packer) awake(b []byte, row int) error {
	m, size := s.rows.mask, s.rows.size
	for j := range m.In {
		if e := b[((row-s.row)*m.In+j)*size:][:size]; !m.Keep(row, j) && prunedBits(e, 0, size) != 0 {
			return fmt.Errorf("tensor %q: element (%d, %d) is pruned and not +0; \"mask apply\" makes it so", s.name, row, j)
		}
	}
	return nil
}

// expander writes the matrix whose kept elements are written to it, +0 in the
// other places.
type expander struct {
	w    io.Writer
	rows packedRows
	row  int    // the next one
	rest []byte // of its kept elements, as far as they have been written
	out  []byte
}

// expandBlock is how many bytes of a matrix are made at a time.
const expandBlock = 1 << 20

func (e *expander) Write(b []byte) (int, error) {
	n := len(b)
	if len(e.rest) > 0 {
		k := min(e.rows.kept(e.row, e.row+1)-len(e.rest), len(b))
		e.rest = append(e.rest, b[:k]...)
		b = b[k:]
		if len(e.rest) < e.rows.kept(e.row, e.row+1) {
			return n, nil
		}
		if err := e.expand(e.rest, e.row+1); err != nil {
			return 0, err
		}
		e.rest = e.rest[:0]
	}
	for len(b) > 0 {
		// Rows as long as all of them is there.
		end, used := e.row, 0
		for end < e.rows.mask.Out && (end-e.row)*e.rows.line() < expandBlock {
			k := e.rows.kept(end, end+1)
			if used+k > len(b) {
				break
			}
			used += k
			end++
		}
		if end == e.row {
			break
		}
		if err := e.expand(b[:used], end); err != nil {
			return 0, err
		}
		b = b[used:]
	}
	e.rest = append(e.rest, b...)
	return n, nil
}

// expand writes the rows up to end.
func (e *expander) expand(b []byte, end int) error {
	n := (end - e.row) * e.rows.line()
	if cap(e.out) < n {
		e.out = make([]byte, n)
	}
	out := e.out[:n]
	clear(out)
	e.rows.expand(out, b, e.row, end)
	e.row = end
	_, err := e.w.Write(out)
	return err
}

// finish writes the rows that are left, of which nothing is kept.
func (e *expander) finish() error {
	for e.row < e.rows.mask.Out {
		if err := e.expand(nil, e.row+1); err != nil {
			return err
		}
	}
	return nil
}
