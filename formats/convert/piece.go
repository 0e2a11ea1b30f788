package convert

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

// piece is a part of an output tensor: the elements of a view of a source tensor
// go to a view of the output. Both views have the same dimensions. What no piece
// covers is zero.
type piece struct {
	source   stored.Tensor
	from, to stored.View
}

const (
	// gatherBlock is how many bytes of an output are gathered at a time.
	gatherBlock = 16 << 20
	// bytesPerWorker is the least that is worth a worker, and rowsPerWorker the
	// multiple of rows in which transpositions go best.
	bytesPerWorker = 256 << 10
	rowsPerWorker  = 64
)

// assembly is a tensor made of pieces, all of one element type.
type assembly struct {
	info   formats.Info
	size   int // bytes of an element
	pieces []piece
	buffer *scratch
	// block, share, rows and shortest are gatherBlock, bytesPerWorker,
	// rowsPerWorker and shortestRun; tests make them small.
	block, share, rows, shortest int
}

// scratch is the memory that sources are loaded into: one buffer for all
// tensors, which are written one after the other.
type scratch struct {
	mu   sync.Mutex
	data []byte
}

// get returns n bytes. The caller holds mu.
func (s *scratch) get(n int) []byte {
	if cap(s.data) < n {
		s.data = nil // may be collected before the next is made
		s.data = make([]byte, n)
	}
	return s.data[:n]
}

// newAssembly checks that the pieces fit.
func newAssembly(info formats.Info, pieces []piece, buffer *scratch) (*assembly, error) {
	a := &assembly{info: info, pieces: pieces, buffer: buffer, block: gatherBlock, share: bytesPerWorker, rows: rowsPerWorker, shortest: shortestRun}
	bits := info.DType.Bits()
	if bits == 0 || bits%8 != 0 {
		return nil, fmt.Errorf("tensor %q: %s has no elements of whole bytes, it can only be copied: %w", info.Name, info.DType, ErrUnsupported)
	}
	a.size = bits / 8
	elements := stored.RowMajor(info.Shape).Elements()
	for _, p := range pieces {
		if p.source.DType != info.DType {
			return nil, fmt.Errorf("tensor %q is made of %s and of %s", info.Name, info.DType, p.source.DType)
		}
		if !slices.Equal(p.from.Dims, p.to.Dims) {
			return nil, fmt.Errorf("tensor %q: a part is %v, its place %v", info.Name, p.from.Dims, p.to.Dims)
		}
		if _, _, err := p.from.Span(int(p.source.Bytes) / a.size); err != nil {
			return nil, fmt.Errorf("tensor %q: part of %q: %w", info.Name, p.source.Name, err)
		}
		if _, _, err := p.to.Span(elements); err != nil {
			return nil, fmt.Errorf("tensor %q: place of %q: %w", info.Name, p.source.Name, err)
		}
	}
	return a, nil
}

// tensor returns the assembly to be written.
func (a *assembly) tensor() stored.Tensor {
	return stored.Tensor{
		Info: a.info, Bytes: int64(stored.RowMajor(a.info.Shape).Elements()) * int64(a.size), Offset: -1,
		WriteTo: a.writeTo,
	}
}

// group is pieces whose places lie between two borders of rows of the output,
// where no other piece lies: the layers of a stack.
type group struct {
	pieces     []piece
	begin, end int // elements
}

// groups parts the pieces. A row is the last dimension of the output.
func (a *assembly) groups() []group {
	row := 1
	if n := len(a.info.Shape); n > 0 {
		row = max(1, a.info.Shape[n-1])
	}
	elements := stored.RowMajor(a.info.Shape).Elements()
	var list []group
	for _, p := range a.pieces {
		first, end, err := p.to.Span(elements)
		if err != nil || first == end {
			continue
		}
		list = append(list, group{[]piece{p}, first / row * row, (end + row - 1) / row * row})
	}
	slices.SortStableFunc(list, func(x, y group) int { return cmp.Compare(x.begin, y.begin) })
	merged := list[:0]
	for _, g := range list {
		if k := len(merged) - 1; k >= 0 && g.begin < merged[k].end {
			merged[k].pieces = append(merged[k].pieces, g.pieces...)
			merged[k].end = max(merged[k].end, g.end)
			continue
		}
		merged = append(merged, g)
	}
	return merged
}

// memory returns how many bytes of sources are loaded at a time.
func (a *assembly) memory() int64 {
	if _, ok := a.runs(); ok {
		return 0
	}
	most := int64(0)
	for _, g := range a.groups() {
		total := int64(0)
		for _, s := range a.spans(g.pieces) {
			total += s.n
		}
		most = max(most, total)
	}
	return most
}

// run is contiguous bytes of a source that are contiguous in the output.
type run struct {
	source   stored.Tensor
	from, to int64
	n        int64
}

// runs returns the pieces as runs, in the order of the output, if they all are
// such and long enough to be worth a read.
func (a *assembly) runs() ([]run, bool) {
	var list []run
	for _, p := range a.pieces {
		if !split(p, a.size, a.shortest, &list) {
			return nil, false
		}
	}
	slices.SortFunc(list, func(x, y run) int { return int(min(1, max(-1, x.to-y.to))) })
	return list, true
}

// shortestRun is the least that is read on its own.
const shortestRun = 64 << 10

// split cuts a piece along its leading dimensions into runs.
func split(p piece, size, shortest int, list *[]run) bool {
	if p.from.Elements() == 0 {
		return true
	}
	if p.from.Contiguous() && p.to.Contiguous() {
		n := int64(p.from.Elements() * size)
		*list = append(*list, run{p.source, int64(p.from.Offset * size), int64(p.to.Offset * size), n})
		return true
	}
	if len(p.from.Dims) < 2 || p.from.Elements()/p.from.Dims[0]*size < shortest {
		return false
	}
	for i := range p.from.Dims[0] {
		if !split(piece{p.source, index(p.from, i), index(p.to, i)}, size, shortest, list) {
			return false
		}
	}
	return true
}

// index returns the part of a view with index i in the first dimension.
func index(v stored.View, i int) stored.View {
	return stored.View{Dims: v.Dims[1:], Strides: v.Strides[1:], Offset: v.Offset + i*v.Strides[0]}
}

// span is the part of a source that pieces need.
type span struct {
	source stored.Tensor
	off, n int64 // bytes
	at     int   // in the buffer
}

// spans returns what is to be loaded for some pieces, one span for each source.
func (a *assembly) spans(pieces []piece) []span {
	var list []span
	for _, p := range pieces {
		first, end, err := p.from.Span(int(p.source.Bytes) / a.size)
		if err != nil || first == end {
			continue
		}
		off, n := int64(first*a.size), int64((end-first)*a.size)
		i := slices.IndexFunc(list, func(s span) bool { return s.source.Name == p.source.Name })
		if i < 0 {
			list = append(list, span{source: p.source, off: off, n: n})
			continue
		}
		s := &list[i]
		last := max(s.off+s.n, off+n)
		s.off = min(s.off, off)
		s.n = last - s.off
	}
	at := 0
	for i := range list {
		list[i].at = at
		at += int(list[i].n)
	}
	return list
}

func (a *assembly) writeTo(w io.Writer) error {
	if runs, ok := a.runs(); ok {
		return a.stream(w, runs)
	}
	a.buffer.mu.Lock()
	defer a.buffer.mu.Unlock()
	at := 0
	for _, g := range a.groups() {
		if err := zeros(w, int64(g.begin-at)*int64(a.size)); err != nil {
			return err
		}
		if err := a.writeGroup(w, g); err != nil {
			return err
		}
		at = g.end
	}
	return zeros(w, int64(stored.RowMajor(a.info.Shape).Elements()-at)*int64(a.size))
}

// writeGroup loads what a group needs and writes its rows.
func (a *assembly) writeGroup(w io.Writer, g group) error {
	spans := a.spans(g.pieces)
	total := 0
	for _, s := range spans {
		total += int(s.n)
	}
	memory := a.buffer.get(total)
	for _, s := range spans {
		if err := s.source.EmitRange(&filler{dst: memory[s.at : s.at+int(s.n)]}, s.off, s.n); err != nil {
			return err
		}
	}
	return a.gather(w, g, spans, memory)
}

// filler writes into memory.
type filler struct {
	dst []byte
	n   int
}

func (f *filler) Write(p []byte) (int, error) {
	n := copy(f.dst[f.n:], p)
	f.n += n
	if n < len(p) {
		return n, io.ErrShortBuffer
	}
	return n, nil
}

// stream copies runs, and zeros between them.
func (a *assembly) stream(w io.Writer, runs []run) error {
	at := int64(0)
	total := a.tensor().Bytes
	for _, r := range runs {
		if err := zeros(w, r.to-at); err != nil {
			return err
		}
		if err := r.source.EmitRange(w, r.from, r.n); err != nil {
			return err
		}
		at = r.to + r.n
	}
	return zeros(w, total-at)
}

func zeros(w io.Writer, n int64) error {
	if n < 0 {
		return fmt.Errorf("parts of a tensor overlap by %d bytes", -n)
	}
	buffer := make([]byte, min(n, 64<<10))
	for n > 0 {
		k, err := w.Write(buffer[:min(n, int64(len(buffer)))])
		if err != nil {
			return err
		}
		n -= int64(k)
	}
	return nil
}

// gather makes the rows of a group block by block, each of whole rows, which
// workers share.
func (a *assembly) gather(w io.Writer, g group, spans []span, memory []byte) error {
	row := 1
	if n := len(a.info.Shape); n > 0 {
		row = a.info.Shape[n-1]
	}
	low, high := g.begin/row, g.end/row
	up := func(n int) int { return max(1, (n+a.rows-1)/a.rows) * a.rows }
	step := up(a.block / (row * a.size))
	share := up(a.share / (row * a.size))
	if row*a.size > a.block/a.rows { // a worker's rows would not fit in a block
		step = max(1, a.block/(row*a.size))
		share = max(1, step/4)
	}
	block := make([]byte, min(step, high-low)*row*a.size)
	for begin := low; begin < high; begin += step {
		end := min(begin+step, high)
		out := block[:(end-begin)*row*a.size]
		clear(out)
		each((end-begin+share-1)/share, func(k int) {
			first := begin + k*share
			last := min(first+share, end)
			part := out[(first-begin)*row*a.size : (last-begin)*row*a.size]
			for _, p := range g.pieces {
				s := spans[slices.IndexFunc(spans, func(s span) bool { return s.source.Name == p.source.Name })]
				src := memory[s.at : s.at+int(s.n)]
				from := p.from
				from.Offset -= int(s.off) / a.size
				a.copyRows(part, first*row, last*row, src, from, p.to)
			}
		})
		if _, err := w.Write(out); err != nil {
			return err
		}
	}
	return nil
}

// copyRows copies what of a piece lies in elements begin to end of the output,
// which dst holds. begin and end are borders of rows.
func (a *assembly) copyRows(dst []byte, begin, end int, src []byte, from, to stored.View) {
	if to.Elements() == 0 {
		return
	}
	first, last, err := to.Span(end + stored.RowMajor(a.info.Shape).Elements())
	if err != nil || first >= end || last <= begin {
		return
	}
	if first >= begin && last <= end {
		to.Offset -= begin
		stored.Copy(dst, to, src, from, a.size)
		return
	}
	// Cut along the dimension that strides widest over the output.
	k := 0
	for i := range to.Dims {
		if to.Dims[i] > 1 && (to.Dims[k] <= 1 || to.Strides[i] > to.Strides[k]) {
			k = i
		}
	}
	if to.Dims[k] <= 1 {
		return
	}
	// Indices whose part lies wholly between begin and end are copied at once.
	inner := last - (to.Dims[k]-1)*to.Strides[k] // end of the part with index 0
	low := max(0, ceil(begin-first, to.Strides[k]))
	high := min(to.Dims[k], floor(end-inner, to.Strides[k])+1)
	if low < high {
		a.copyRows(dst, begin, end, src, cut(from, k, low, high), cut(to, k, low, high))
	} else {
		low = min(max(low, 0), to.Dims[k])
		high = low
	}
	for i := low - 1; i >= 0 && i*to.Strides[k]+inner > begin; i-- {
		a.copyRows(dst, begin, end, src, cut(from, k, i, i+1), cut(to, k, i, i+1))
	}
	for i := high; i < to.Dims[k] && first+i*to.Strides[k] < end; i++ {
		a.copyRows(dst, begin, end, src, cut(from, k, i, i+1), cut(to, k, i, i+1))
	}
}

// cut returns the part of a view with indices low to high of dimension k.
func cut(v stored.View, k, low, high int) stored.View {
	v.Dims = slices.Clone(v.Dims)
	v.Dims[k] = high - low
	v.Offset += low * v.Strides[k]
	return v
}

// ceil and floor divide, rounding up and down; b is positive.
func ceil(a, b int) int { return -floor(-a, b) }

func floor(a, b int) int {
	q := a / b
	if a%b != 0 && a < 0 {
		q--
	}
	return q
}
