package masks

import "fmt"

// Placement says where a logical matrix (out, in) lies in a stored tensor:
// weight (i, j) is element Offset + i*RowStride + j*ColStride of a tensor of
// Elements elements.
type Placement struct {
	Offset, RowStride, ColStride int
	Elements                     int
}

// check returns an error if t does not fit into the stored tensor.
func (p Placement) check(t Target) error {
	last := p.Offset + (t.Out-1)*p.RowStride + (t.In-1)*p.ColStride
	if p.Offset < 0 || p.RowStride < 1 || p.ColStride < 1 || last >= p.Elements {
		return fmt.Errorf("masks: %q: (%d, %d) ends at element %d, the stored tensor has %d", t.Key(), t.Out, t.In, last, p.Elements)
	}
	return nil
}

// Awake counts the pruned weights whose bytes in a stored tensor are not all
// zero, which for floats means anything but +0, and returns the first of them
// in row-major order (-1, -1 if there is none). data holds p.Elements elements
// of size bytes each. It returns an error if the matrix does not fit into
// data.
func (m *Mask) Awake(data []byte, size int, p Placement) (count, row, col int, err error) {
	row, col = -1, -1
	err = m.eachPruned(data, size, p, func(i, j int, element []byte) {
		if isZero(element) {
			return
		}
		count++
		if row < 0 || i < row || i == row && j < col {
			row, col = i, j
		}
	})
	return count, row, col, err
}

// Zero sets the bytes of every pruned weight in a stored tensor to zero and
// returns how many were not. data is as for Awake.
func (m *Mask) Zero(data []byte, size int, p Placement) (changed int, err error) {
	err = m.eachPruned(data, size, p, func(_, _ int, element []byte) {
		if !isZero(element) {
			clear(element)
			changed++
		}
	})
	return changed, err
}

// eachPruned calls f for every pruned weight with its bytes in data. The
// stored order of a Conv1D weight is (in, out), so columns are walked outside
// and rows inside, eight columns (one byte of the mask) at a time.
func (m *Mask) eachPruned(data []byte, size int, p Placement, f func(i, j int, element []byte)) error {
	if err := p.check(m.Target()); err != nil {
		return err
	}
	if len(data) != p.Elements*size {
		return fmt.Errorf("masks: %q: stored tensor is %d bytes, %d elements of %d bytes need %d", m.Key(), len(data), p.Elements, size, p.Elements*size)
	}
	stride := m.Stride()
	for b := range stride {
		columns := min(8, m.In-8*b)
		for i := range m.Out {
			pruned := ^m.Bits[i*stride+b]
			if pruned == 0 {
				continue
			}
			at := p.Offset + i*p.RowStride + 8*b*p.ColStride
			for bit := range columns {
				if pruned>>bit&1 != 0 {
					e := (at + bit*p.ColStride) * size
					f(i, 8*b+bit, data[e:e+size])
				}
			}
		}
	}
	return nil
}
