package kernels

// The sparse products work on panels of PanelTokens tokens, feature-major
// inside, so that one kept weight meets contiguous numbers. A panel is cut
// into slabs of features that fit the first-level cache, and the rows of the
// matrix into blocks whose outputs fit the second.
const (
	// rowBlock is the largest number of outputs of a panel that one task
	// computes: 256 × 64 tokens × 4 bytes are 64 KiB.
	rowBlock = 256
	// gradientRows is about the number of rows whose gradients one task computes.
	gradientRows = 128
	// panelGroup is the number of panels that are packed before they are used,
	// which bounds the scratch memory.
	panelGroup = 16
	// directTokens is the number of tokens up to which a row is gathered
	// directly, as in decoding.
	directTokens = 4
)

// Forward computes the product of x (tokens, In) and the transpose of W:
//
//	dst[t,i] = sum over the kept (i,j) of w[i,j]*x[t,j]
//
// dst is (tokens, Out), overwritten; w holds the kept values; ldd and ldx are
// row strides. dst must not overlap x. It panics if a slice is too short.
func (s *Sparse) Forward(dst []float32, ldd int, x []float32, ldx int, w []float32, tokens int) {
	must(holds(dst, ldd, tokens, s.Out), "kernels: Sparse.Forward: dst does not hold tokens × out")
	must(holds(x, ldx, tokens, s.In), "kernels: Sparse.Forward: x does not hold tokens × in")
	must(len(w) >= s.Kept(), "kernels: Sparse.Forward: w is shorter than the kept weights")
	if tokens <= directTokens {
		s.rows.direct(dst, ldd, x, ldx, w, tokens)
		return
	}
	s.rows.multiply(current, dst, ldd, x, ldx, w, tokens, false)
}

// BackwardInput computes the product of dy (tokens, Out) and W:
//
//	dx[t,j] (+)= sum over the kept (i,j) of dy[t,i]*w[i,j]
//
// dx is (tokens, In), overwritten, or added to if accumulate. dx must not
// overlap dy. It panics if a slice is too short.
func (s *Sparse) BackwardInput(dx []float32, lddx int, dy []float32, ldy int, w []float32, tokens int, accumulate bool) {
	must(holds(dx, lddx, tokens, s.In), "kernels: Sparse.BackwardInput: dx does not hold tokens × in")
	must(holds(dy, ldy, tokens, s.Out), "kernels: Sparse.BackwardInput: dy does not hold tokens × out")
	must(len(w) >= s.Kept(), "kernels: Sparse.BackwardInput: w is shorter than the kept weights")
	wt := borrow(s.Kept())
	s.transposeValues(wt.data, w)
	s.cols.multiply(current, dx, lddx, dy, ldy, wt.data, tokens, accumulate)
	wt.giveBack()
}

// transposeValues writes the kept values in the order of the transpose. Each
// slab of columns is filled by one thread, which walks the rows in order, so
// that the list of every column comes out ascending; no permutation is stored.
func (s *Sparse) transposeValues(dst, w []float32) {
	Parallel(s.rows.slabs(), func(slab int) {
		var fill [max(slabDense, slabSparse)]int32
		c0 := slab * s.rows.slab
		c1 := min(s.In, c0+s.rows.slab)
		lo, hi := s.rows.ranges(slab, 0, s.Out)
		for r := range lo {
			if r%s.cols.slab == 0 {
				at := r / s.cols.slab * s.In
				copy(fill[:], s.cols.bounds[at+c0:at+c1])
			}
			v := w[lo[r]:hi[r]]
			for k, j := range s.rows.idx[lo[r]:hi[r]] {
				at := &fill[int(j)-c0]
				dst[*at] = v[k]
				*at++
			}
		}
	})
}

// BackwardWeight adds the weight gradient at the kept places only:
//
//	dw[i,j] += sum over t of dy[t,i]*x[t,j]
//
// dw holds one float32 per kept weight. Panels of tokens are added in order.
// It panics if a slice is too short.
func (s *Sparse) BackwardWeight(dw []float32, dy []float32, ldy int, x []float32, ldx int, tokens int) {
	must(holds(dy, ldy, tokens, s.Out), "kernels: Sparse.BackwardWeight: dy does not hold tokens × out")
	must(holds(x, ldx, tokens, s.In), "kernels: Sparse.BackwardWeight: x does not hold tokens × in")
	must(len(dw) >= s.Kept(), "kernels: Sparse.BackwardWeight: dw is shorter than the kept weights")
	if s.Kept() == 0 || tokens == 0 {
		return
	}
	set := current
	panels := min(panelGroup, ceilDiv(tokens, PanelTokens))
	xs := borrow(panels * s.In * PanelTokens)
	dys := borrow(panels * s.Out * PanelTokens)
	// The gradients of one range of rows stay in the second-level cache while
	// the panels go by.
	cut := s.rows.split(max(2*Threads(), ceilDiv(s.Out, gradientRows)))
	for t0 := 0; t0 < tokens; t0 += panelGroup * PanelTokens {
		group := min(panelGroup*PanelTokens, tokens-t0)
		packTokens(set, xs.data, x[t0*ldx:], ldx, group, s.In)
		packTokens(set, dys.data, dy[t0*ldy:], ldy, group, s.Out)
		Parallel(len(cut)-1, func(i int) {
			r0, r1 := cut[i], cut[i+1]
			for p := range ceilDiv(group, PanelTokens) {
				xp := xs.data[p*s.In*PanelTokens:][:s.In*PanelTokens]
				dyp := dys.data[(p*s.Out+r0)*PanelTokens:][:(r1-r0)*PanelTokens]
				for slab := range s.rows.slabs() {
					lo, hi := s.rows.ranges(slab, r0, r1)
					set.PanelSDDMM(dw, dyp, xp, lo, hi, s.rows.idx)
				}
			}
		})
	}
	xs.giveBack()
	dys.giveBack()
}

// packTokens writes x (tokens, n) as panels (panel, n, PanelTokens), in
// parallel; the last panel is filled up with zeros.
func packTokens(set *Set, dst []float32, x []float32, ldx int, tokens, n int) {
	across := ceilDiv(n, rowBlock)
	Parallel(ceilDiv(tokens, PanelTokens)*across, func(i int) {
		t0, c0 := i/across*PanelTokens, i%across*rowBlock
		count := min(PanelTokens, tokens-t0)
		pack(set, dst[t0*n+c0*PanelTokens:], PanelTokens, matrix{x, ldx, false}, t0, count, c0, min(rowBlock, n-c0))
	})
}

// multiply computes dst (tokens, n) (+)= x (tokens, width) Wᵀ in panels.
func (w *walk) multiply(set *Set, dst []float32, ldd int, x []float32, ldx int, values []float32, tokens int, accumulate bool) {
	if w.empty(dst, ldd, tokens, accumulate) {
		return
	}
	xs := borrow(min(panelGroup, ceilDiv(tokens, PanelTokens)) * w.width * PanelTokens)
	for t0 := 0; t0 < tokens; t0 += panelGroup * PanelTokens {
		group := min(panelGroup*PanelTokens, tokens-t0)
		packTokens(set, xs.data, x[t0*ldx:], ldx, group, w.width)
		panels := ceilDiv(group, PanelTokens)
		block := min(rowBlock, max(16, ceilDiv(w.n*panels, 4*Threads())))
		// Consecutive tasks share a block of weights, which stays in cache
		// while the panels go by.
		Parallel(panels*ceilDiv(w.n, block), func(i int) {
			r, p := i/panels*block, i%panels
			t := t0 + p*PanelTokens
			xp := xs.data[p*w.width*PanelTokens:][:w.width*PanelTokens]
			w.panelRows(set, dst[t*ldd:], ldd, xp, values, min(PanelTokens, tokens-t), r, min(w.n, r+block), accumulate)
		})
	}
	xs.giveBack()
}

// empty reports whether there is nothing to sum, and settles that case.
func (w *walk) empty(dst []float32, ldd int, tokens int, accumulate bool) bool {
	if tokens > 0 && w.n > 0 && len(w.idx) > 0 {
		return false
	}
	if !accumulate && w.n > 0 {
		clearRows(dst, ldd, tokens, w.n)
	}
	return true
}

// panelRows computes outputs r0 to r1 of one packed panel of count tokens.
func (w *walk) panelRows(set *Set, dst []float32, ldd int, x, values []float32, count, r0, r1 int, accumulate bool) {
	rows := r1 - r0
	out := borrow(rows * PanelTokens)
	if accumulate {
		pack(set, out.data, PanelTokens, matrix{dst, ldd, false}, 0, count, r0, rows)
	} else {
		clear(out.data)
	}
	for slab := range w.slabs() {
		lo, hi := w.ranges(slab, r0, r1)
		set.PanelSpMM(out.data, x, lo, hi, w.idx, values)
	}
	set.Transpose(dst[r0:], ldd, out.data, PanelTokens, rows, count)
	out.giveBack()
}

// direct computes dst (tokens, n) = x (tokens, width) Wᵀ row by row. The tokens
// are copied to arrays that any uint16 may index, which spares a test per weight.
func (w *walk) direct(dst []float32, ldd int, x []float32, ldx int, values []float32, tokens int) {
	if w.empty(dst, ldd, tokens, false) {
		return
	}
	var ws workspace
	var copies [directTokens]*[sparseMax]float32
	for t := range tokens {
		copies[t] = (*[sparseMax]float32)(ws.take(sparseMax))
		copy(copies[t][:], x[t*ldx:][:w.width])
	}
	cut := w.split(4 * Threads())
	Parallel(len(cut)-1, func(i int) {
		for r := cut[i]; r < cut[i+1]; r++ {
			lo, hi := w.row(r)
			for t := range tokens {
				dst[t*ldd+r] = gatherDot(values[lo:hi], w.idx[lo:hi], copies[t])
			}
		}
	})
	ws.release()
}

// gatherDot returns the sum of w[k]*x[idx[k]] in four chains.
func gatherDot(w []float32, idx []uint16, x *[sparseMax]float32) float32 {
	var s0, s1, s2, s3 float32
	for len(idx) >= 4 && len(w) >= 4 {
		s0 += float32(w[0] * x[idx[0]])
		s1 += float32(w[1] * x[idx[1]])
		s2 += float32(w[2] * x[idx[2]])
		s3 += float32(w[3] * x[idx[3]])
		idx, w = idx[4:], w[4:]
	}
	for k, j := range idx {
		s0 += float32(w[k] * x[j])
	}
	return (s0 + s1) + (s2 + s3)
}
