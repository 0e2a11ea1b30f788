package stored

import (
	"io"

	"github.com/spdfctl/spdfctl/formats"
)

// gatherBlock is how many bytes of a gathered tensor are made at a time.
const gatherBlock = 4 << 20

// Array is contiguous elements that a View is taken of: part of a file, or
// something that has to be inflated first.
type Array struct {
	// Read returns a reader of n bytes from byte off on.
	Read func(off, n int64) (io.Reader, error)
	// Swap is the number of bytes of each group that has to be reversed, 0 if
	// the elements are little-endian.
	Swap int
}

// Strided returns the tensor that a view of an array makes, gathered when it is
// written. Writing takes the memory of the part of the array between the first
// and the last element, unless the view is contiguous. It panics if the element
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
