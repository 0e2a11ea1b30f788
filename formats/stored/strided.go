package stored

import (
	"cmp"
	"io"
	"math"
	"slices"

	"github.com/spdfctl/spdfctl/formats"
)

const (
	// gatherBlock is how many bytes of a gathered tensor are made at a time.
	gatherBlock = 4 << 20
	// wholeSpan is how many bytes of an array are loaded in one piece. Of more,
	// no more than runBudget are loaded at a time, in runs.
	wholeSpan = 32 << 20
	runBudget = 128 << 20
)

// Array is contiguous elements that a View is taken of: part of a file, or
// something that has to be inflated first.
type Array struct {
	// Read returns a reader of n bytes from byte off on.
	Read func(off, n int64) (io.Reader, error)
	// Swap is the number of bytes of each group that has to be reversed, 0 if
	// the elements are little-endian.
	Swap int
	// Direct says that Read costs no more in the middle than at the beginning.
	Direct bool
}

// Strided returns the tensor that a view of an array makes, gathered when it is
// written. If the view is not contiguous, writing takes less than 200 MB if the
// array is Direct, otherwise the memory of the part of the array between the
// first and the last element. It panics if the element
// type has no size of whole bytes; that the view stays inside the array is for
// the caller to check, with View.Span.
func Strided(info formats.Info, a Array, v View) Tensor {
	bits := info.DType.Bits()
	if bits == 0 || bits%8 != 0 {
		panic("stored: element type without a size in bytes")
	}
	size := bits / 8
	return Tensor{
		Info: info, Bytes: int64(v.Elements()) * int64(size), Offset: -1,
		WriteTo: func(w io.Writer) error { return writeStrided(w, a, v, size) },
	}
}

func writeStrided(w io.Writer, a Array, v View, size int) error {
	const any = int(^uint(0) >> 1)
	first, end, err := v.Span(any)
	if err != nil || first == end {
		return err
	}
	if a.Direct && !v.Contiguous() && (end-first)*size > wholeSpan {
		return writeRuns(w, a, v, size, runBudget)
	}
	r, err := a.Read(int64(first)*int64(size), int64(end-first)*int64(size))
	if err != nil {
		return err
	}
	if v.Contiguous() {
		return writeStream(w, r, int64(end-first)*int64(size), a.Swap)
	}
	src := make([]byte, (end-first)*size)
	if _, err := io.ReadFull(r, src); err != nil {
		return short(err)
	}
	Reverse(src, a.Swap)
	v.Offset -= first
	return eachBlock(v, gatherBlock/size, func(part View) error {
		block := make([]byte, part.Elements()*size)
		Copy(block, RowMajor(part.Dims), src, part, size)
		_, err := w.Write(block)
		return err
	})
}

// writeRuns writes a view in blocks, for each of which it loads only what the
// block is made of: at most budget bytes, twice those of the block or more.
func writeRuns(w io.Writer, a Array, v View, size, budget int) error {
	// Elements that are never neighbours need blocks that are smaller.
	spread := math.MaxInt
	for i, d := range v.Dims {
		if d > 1 && v.Strides[i] > 0 {
			spread = min(spread, v.Strides[i])
		}
	}
	var src, block []byte
	return eachBlock(v, max(1, budget/2/size/spread), func(part View) error {
		n := part.Elements() * size
		block = grow(block, n)
		compact, runs, length := runsOf(part, budget/size)
		src = grow(src, len(runs)*length*size)
		for i, first := range runs {
			r, err := a.Read(int64(first)*int64(size), int64(length)*int64(size))
			if err != nil {
				return err
			}
			if _, err := io.ReadFull(r, src[i*length*size:(i+1)*length*size]); err != nil {
				return short(err)
			}
		}
		Reverse(src, a.Swap)
		Copy(block, RowMajor(part.Dims), src, compact, size)
		_, err := w.Write(block)
		return err
	})
}

// grow returns n bytes, those of b if it has as many.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// runsOf returns the elements at which runs of the same length begin that hold
// a view with at least one element, and the view of the runs behind one another.
// Together they have at most limit elements, or as many as the view.
func runsOf(v View, limit int) (compact View, runs []int, length int) {
	order := make([]int, len(v.Dims)) // of dimensions, by descending stride
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(v.Strides[b], v.Strides[a]) })
	// The dimensions from k on lie in a run, those before count the runs.
	count, k := 1, 0
	for ; ; k++ {
		length = 1
		for _, d := range order[k:] {
			length += (v.Dims[d] - 1) * v.Strides[d]
		}
		if k == len(order) || length <= limit/count {
			break
		}
		count *= v.Dims[order[k]]
	}
	compact = View{Dims: v.Dims, Strides: slices.Clone(v.Strides)}
	step := length
	runs = []int{v.Offset}
	for i := k - 1; i >= 0; i-- {
		d := order[i]
		compact.Strides[d] = step
		step *= v.Dims[d]
		inner := runs
		runs = make([]int, 0, v.Dims[d]*len(inner))
		for x := range v.Dims[d] {
			for _, at := range inner {
				runs = append(runs, at+x*v.Strides[d])
			}
		}
	}
	return compact, runs, length
}

// writeStream copies n bytes, reversing groups of swap bytes.
func writeStream(w io.Writer, r io.Reader, n int64, swap int) error {
	buffer := make([]byte, min(copyBuffer, n))
	for n > 0 {
		part := buffer[:min(int64(len(buffer)), n)]
		if _, err := io.ReadFull(r, part); err != nil {
			return short(err)
		}
		Reverse(part, swap)
		if _, err := w.Write(part); err != nil {
			return err
		}
		n -= int64(len(part))
	}
	return nil
}

// short says that the end came too early, wherever it came.
func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Reverse reverses each group of n bytes in place; n of 0 or 1 does nothing.
func Reverse(data []byte, n int) {
	if n < 2 {
		return
	}
	for len(data) >= n {
		for i, j := 0, n-1; i < j; i, j = i+1, j-1 {
			data[i], data[j] = data[j], data[i]
		}
		data = data[n:]
	}
}

// eachBlock calls do for parts of a view, in row-major order, of about limit
// elements each.
func eachBlock(v View, limit int, do func(part View) error) error {
	// The parts are runs of indices of dimension k, for one index of each of
	// the dimensions before it.
	k, inner := 0, v.Elements()
	for ; k < len(v.Dims)-1; k++ {
		inner /= v.Dims[k]
		if inner <= limit {
			break
		}
	}
	if k >= len(v.Dims)-1 {
		inner = 1
	}
	step := max(1, limit/inner)
	index := make([]int, k)
	for {
		at := v.Offset
		for i, x := range index {
			at += x * v.Strides[i]
		}
		for x := 0; x < v.Dims[k]; x += step {
			part := View{Dims: append([]int{min(step, v.Dims[k]-x)}, v.Dims[k+1:]...), Strides: v.Strides[k:], Offset: at + x*v.Strides[k]}
			if err := do(part); err != nil {
				return err
			}
		}
		i := k - 1
		for ; i >= 0; i-- {
			if index[i]++; index[i] < v.Dims[i] {
				break
			}
			index[i] = 0
		}
		if i < 0 {
			return nil
		}
	}
}
