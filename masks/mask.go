package masks

import (
	"crypto/sha256"
	"fmt"
	"math/bits"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxTotal bounds the weights of one matrix, so that no size overflows and a
// wrong shape fails before it is allocated: 2^40 weights are 128 GiB of bits.
const maxTotal = 1 << 40

// Bounds on a name and a part, far beyond those of any checkpoint.
const (
	maxName = 1024
	maxPart = 64
)

// Target is a logical matrix (out, in) that can be masked. Part is empty where
// the stored tensor Name is this one matrix.
type Target struct {
	Name, Part string
	Out, In    int
}

// Key returns the name of the matrix: Name, or Name#Part.
func (t Target) Key() string { return key(t.Name, t.Part) }

// Total returns the number of weights.
func (t Target) Total() int { return t.Out * t.In }

// Check reports what makes t unusable: a name that is empty, not UTF-8, or
// holds a '#' or a control character, or a shape without weights or with more than 2^40.
func (t Target) Check() error {
	if err := checkName("name", t.Name, maxName); err != nil {
		return err
	}
	if t.Part != "" {
		if err := checkName("part", t.Part, maxPart); err != nil {
			return fmt.Errorf("masks: %q: %w", clip(t.Name), err)
		}
	}
	if t.Out < 1 || t.In < 1 || t.Out > maxTotal || t.In > maxTotal/t.Out {
		return fmt.Errorf("masks: %q: shape (%d, %d) is not 1 to %d weights", t.Key(), t.Out, t.In, maxTotal)
	}
	return nil
}

func key(name, part string) string {
	if part == "" {
		return name
	}
	return name + "#" + part
}

// checkName keeps Key unambiguous and fit for a file's header and a terminal.
func checkName(what, s string, limit int) error {
	switch {
	case s == "":
		return fmt.Errorf("masks: empty %s", what)
	case len(s) > limit:
		return fmt.Errorf("masks: %s is %d bytes, limit %d", what, len(s), limit)
	case !utf8.ValidString(s):
		return fmt.Errorf("masks: %s %q is not UTF-8", what, s)
	case strings.Contains(s, "#"):
		return fmt.Errorf("masks: %s %q has a '#', which parts the name from the part", what, s)
	case strings.IndexFunc(s, unicode.IsControl) >= 0:
		return fmt.Errorf("masks: %s %q has a control character", what, s)
	case s == "__metadata__":
		return fmt.Errorf("masks: %s %q is reserved by safetensors", what, s)
	}
	return nil
}

// Mask says which weights of one matrix (out, in) exist.
//
// Bits is (out, ceil(in/8)): bit j%8 of byte j/8 of a row, counted from the
// least significant, is 1 where weight (i, j) is kept. The bits past the last
// column are zero.
type Mask struct {
	Name, Part string
	Out, In    int
	Bits       []byte
}

// New returns the mask of a matrix (out, in) that keeps no weight. It panics
// if the shape holds no weights.
func New(name, part string, out, in int) *Mask {
	if out < 1 || in < 1 || out > maxTotal || in > maxTotal/out {
		panic("masks: shape without weights, or with too many")
	}
	m := &Mask{Name: name, Part: part, Out: out, In: in}
	m.Bits = make([]byte, out*m.Stride())
	return m
}

// Key returns the name of the matrix: Name, or Name#Part.
func (m *Mask) Key() string { return key(m.Name, m.Part) }

// Target returns the matrix that m masks.
func (m *Mask) Target() Target { return Target{m.Name, m.Part, m.Out, m.In} }

// Stride returns the bytes of a row: ceil(in/8).
func (m *Mask) Stride() int { return (m.In + 7) / 8 }

// Keep reports whether weight (i, j) exists.
func (m *Mask) Keep(i, j int) bool { return m.Bits[i*m.Stride()+j>>3]>>(j&7)&1 != 0 }

// Put keeps or prunes weight (i, j).
func (m *Mask) Put(i, j int, keep bool) {
	p := &m.Bits[i*m.Stride()+j>>3]
	*p &^= 1 << (j & 7)
	if keep {
		*p |= 1 << (j & 7)
	}
}

// Row returns the bytes of row i, not copied.
func (m *Mask) Row(i int) []byte { return m.Bits[i*m.Stride() : (i+1)*m.Stride()] }

// Total returns the number of weights, kept or not.
func (m *Mask) Total() int { return m.Out * m.In }

// Kept returns the number of kept weights.
func (m *Mask) Kept() int { return popcount(m.Bits) }

// Sparsity returns pruned / total.
func (m *Mask) Sparsity() float64 { return float64(m.Total()-m.Kept()) / float64(m.Total()) }

// DeadRows returns the number of rows, which are outputs, without a kept weight.
func (m *Mask) DeadRows() int {
	dead := 0
	for i := range m.Out {
		if isZero(m.Row(i)) {
			dead++
		}
	}
	return dead
}

// DeadColumns returns the number of columns, which are inputs, without a kept
// weight.
func (m *Mask) DeadColumns() int {
	alive := make([]byte, m.Stride())
	for i := range m.Out {
		for b, v := range m.Row(i) {
			alive[b] |= v
		}
	}
	return m.In - popcount(alive)
}

// padding returns the bits of the last byte of a row that lie past the last
// column.
func (m *Mask) padding() byte { return ^byte(0) << (m.In & 7) & -byte((m.In&7+7)/8) }

// PaddingRow returns the first row with a bit set past the last column, or -1.
func (m *Mask) PaddingRow() int {
	if pad := m.padding(); pad != 0 {
		for i := range m.Out {
			if m.Bits[(i+1)*m.Stride()-1]&pad != 0 {
				return i
			}
		}
	}
	return -1
}

// Check reports what makes m invalid: its name, its shape, the length of Bits,
// or a bit set past the last column.
func (m *Mask) Check() error {
	if err := m.Target().Check(); err != nil {
		return err
	}
	if want := m.Out * m.Stride(); len(m.Bits) != want {
		return fmt.Errorf("masks: %q: %d bytes of bits, (%d, %d) needs %d", m.Key(), len(m.Bits), m.Out, m.In, want)
	}
	if i := m.PaddingRow(); i >= 0 {
		return fmt.Errorf("masks: %q: row %d has a bit set past column %d", m.Key(), i, m.In-1)
	}
	return nil
}

// SHA256 returns the digest of the out*in bits of all rows, joined without
// padding, packed from the least significant bit up, the last byte filled with
// zero bits. It does not depend on how rows are padded.
func (m *Mask) SHA256() [sha256.Size]byte {
	if m.In%8 == 0 {
		return sha256.Sum256(m.Bits)
	}
	h := sha256.New()
	var (
		buf  = make([]byte, 0, 4096)
		acc  uint // bits not yet written, fewer than 8 of them
		held int
	)
	for i := range m.Out {
		for b, v := range m.Row(i) {
			acc |= uint(v) << held
			held += min(8, m.In-8*b)
			if held >= 8 {
				buf = append(buf, byte(acc))
				acc >>= 8
				held -= 8
			}
			if len(buf) == cap(buf) {
				h.Write(buf)
				buf = buf[:0]
			}
		}
	}
	if held > 0 {
		buf = append(buf, byte(acc))
	}
	h.Write(buf)
	return [sha256.Size]byte(h.Sum(nil))
}

// Equal reports whether m and o keep the same weights of the same matrix.
func (m *Mask) Equal(o *Mask) bool {
	return m.Target() == o.Target() && string(m.Bits) == string(o.Bits)
}

// Overlap counts the weights kept by both masks and by only one of them. It
// panics if the shapes differ.
func (m *Mask) Overlap(o *Mask) (both, onlyM, onlyO int) {
	if m.Out != o.Out || m.In != o.In {
		panic("masks: overlap of two shapes")
	}
	for i, v := range m.Bits {
		w := o.Bits[i]
		both += bits.OnesCount8(v & w)
		onlyM += bits.OnesCount8(v &^ w)
		onlyO += bits.OnesCount8(w &^ v)
	}
	return both, onlyM, onlyO
}
