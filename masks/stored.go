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
