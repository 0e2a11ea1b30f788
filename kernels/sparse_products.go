package kernels

// The sparse products work on panels of PanelTokens tokens, feature-major
// inside, so that one kept weight meets contiguous numbers. A panel is cut
// into slabs of features that fit the first-level cache, and the rows of the
// matrix into blocks whose outputs fit the second.
const (
	// packColumns is the number of features that one task packs.
	packColumns = 256
	// panelGroup is the number of panels that are packed before they are used,
	// which bounds the scratch memory.
	panelGroup = 8
	// directTokens is the number of tokens up to which they are multiplied one
	// by one, as in decoding.
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
	if s.rows.empty(dst, ldd, tokens, false) {
		return
	}
	if tokens <= directTokens {
		s.rows.direct(dst, ldd, x, ldx, w, tokens)
		return
	}
	set := current
	eachGroup(tokens, func(t0, count int) {
		xs := packTokens(set, x[t0*ldx:], ldx, count, s.In)
		s.rows.multiply(set, dst[t0*ldd:], ldd, xs.data, w, count, false)
		xs.giveBack()
	})
}

// BackwardInput computes the product of dy (tokens, Out) and W:
//
//	dx[t,j] (+)= sum over the kept (i,j) of dy[t,i]*w[i,j]
//
// dx is (tokens, In), overwritten, or added to if accumulate; wt holds the kept
// values as Transpose writes them. dx must not overlap dy. It panics if a slice
// is too short.
func (s *Sparse) BackwardInput(dx []float32, lddx int, dy []float32, ldy int, wt []float32, tokens int, accumulate bool) {
	must(holds(dx, lddx, tokens, s.In), "kernels: Sparse.BackwardInput: dx does not hold tokens × in")
	must(holds(dy, ldy, tokens, s.Out), "kernels: Sparse.BackwardInput: dy does not hold tokens × out")
	must(len(wt) >= s.Kept(), "kernels: Sparse.BackwardInput: wt is shorter than the kept weights")
	if s.cols.empty(dx, lddx, tokens, accumulate) {
		return
	}
	set := current
	eachGroup(tokens, func(t0, count int) {
		dys := packTokens(set, dy[t0*ldy:], ldy, count, s.Out)
		s.cols.multiply(set, dx[t0*lddx:], lddx, dys.data, wt, count, accumulate)
		dys.giveBack()
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
	if s.Kept() == 0 {
		return
	}
	set := current
	eachGroup(tokens, func(t0, count int) {
		dys := packTokens(set, dy[t0*ldy:], ldy, count, s.Out)
		s.gradient(set, dw, dys.data, x[t0*ldx:], ldx, count)
		dys.giveBack()
	})
}

// Backward is BackwardInput and BackwardWeight on the same dy, which is packed
// once for both; the bits are theirs. dx must not overlap x.
func (s *Sparse) Backward(dx []float32, lddx int, dw []float32, dy []float32, ldy int, x []float32, ldx int, wt []float32, tokens int, accumulate bool) {
	must(holds(dx, lddx, tokens, s.In), "kernels: Sparse.Backward: dx does not hold tokens × in")
	must(holds(dy, ldy, tokens, s.Out), "kernels: Sparse.Backward: dy does not hold tokens × out")
	must(holds(x, ldx, tokens, s.In), "kernels: Sparse.Backward: x does not hold tokens × in")
	must(len(wt) >= s.Kept() && len(dw) >= s.Kept(), "kernels: Sparse.Backward: wt or dw is shorter than the kept weights")
	if s.cols.empty(dx, lddx, tokens, accumulate) {
		return
	}
	set := current
	eachGroup(tokens, func(t0, count int) {
		dys := packTokens(set, dy[t0*ldy:], ldy, count, s.Out)
		s.cols.multiply(set, dx[t0*lddx:], lddx, dys.data, wt, count, accumulate)
		s.gradient(set, dw, dys.data, x[t0*ldx:], ldx, count)
		dys.giveBack()
	})
}

// eachGroup calls f for the tokens of panelGroup panels at a time.
func eachGroup(tokens int, f func(t0, count int)) {
	for t0 := 0; t0 < tokens; t0 += panelGroup * PanelTokens {
		f(t0, min(panelGroup*PanelTokens, tokens-t0))
	}
}

// packTokens returns x (tokens, n) as panels (panel, n, PanelTokens), packed
// in parallel; the last panel is filled up with zeros.
func packTokens(set *Set, x []float32, ldx int, tokens, n int) *scratch {
	panels, across := ceilDiv(tokens, PanelTokens), ceilDiv(n, packColumns)
	s := borrow(panels * n * PanelTokens)
	Parallel(panels*across, func(i int) {
		t0, c0 := i/across*PanelTokens, i%across*packColumns
		count := min(PanelTokens, tokens-t0)
		pack(set, s.data[t0*n+c0*PanelTokens:], PanelTokens, matrix{x, ldx, false}, t0, count, c0, min(packColumns, n-c0))
	})
	return s
}

// empty reports whether there is nothing to sum, and settles that case.
func (w *walk) empty(dst []float32, ldd int, tokens int, accumulate bool) bool {
	if tokens > 0 && w.n > 0 && w.kept() > 0 {
		return false
	}
	if !accumulate && w.n > 0 {
		clearRows(dst, ldd, tokens, w.n)
	}
	return true
}

// multiply computes dst (tokens, n) (+)= x Wᵀ from packed panels of x.
// Consecutive tasks share a block of weights, which stays in cache while the
// panels go by.
func (w *walk) multiply(set *Set, dst []float32, ldd int, x, values []float32, tokens int, accumulate bool) {
	panels := ceilDiv(tokens, PanelTokens)
	Parallel(panels*w.blocks(), func(i int) {
		block, p := i/panels, i%panels
		t := p * PanelTokens
		w.panelBlock(set, dst[t*ldd:], ldd, x[p*w.width*PanelTokens:], values, min(PanelTokens, tokens-t), block, accumulate)
	})
}

// panelBlock computes the outputs of one row block for one panel of count tokens.
func (w *walk) panelBlock(set *Set, dst []float32, ldd int, x, values []float32, count, block int, accumulate bool) {
	r0 := block * blockRows
	rows := min(blockRows, w.n-r0)
	out := borrow(rows * PanelTokens)
	if accumulate {
		pack(set, out.data, PanelTokens, matrix{dst, ldd, false}, 0, count, r0, rows)
	} else {
		clear(out.data)
	}
	kept := 0
	for slab := range w.slabs() {
		code, lo, hi := w.tile(block, slab)
		set.PanelSpMM(out.data, x[slab*w.slab*PanelTokens:], code, values[lo:hi], w.slabOf(x, slab+1))
		kept += hi - lo
	}
	sparseWork.add(kept*count, kept*PanelTokens)
	set.Transpose(dst[r0:], ldd, out.data, PanelTokens, rows, count)
	out.giveBack()
}

// slabOf returns a slab of a panel, empty beyond the last.
func (w *walk) slabOf(panel []float32, slab int) []float32 {
	n := w.slab * PanelTokens
	return panel[min(slab*n, len(panel)):min((slab+1)*n, len(panel))]
}

// blockOf returns the rows of a block out of packed panels of n features.
func (w *walk) blockOf(panels []float32, p, block int) []float32 {
	r0 := block * blockRows
	return panels[(p*w.n+r0)*PanelTokens:][:min(blockRows, w.n-r0)*PanelTokens]
}

// gradient adds the weight gradient of packed panels of dy and the rows of x.
// A task owns some tiles of a row block, all of which stay in the second-level
// cache with a panel of the block's dy while the panels go by in order.
func (s *Sparse) gradient(set *Set, dw, dy []float32, x []float32, ldx int, tokens int) {
	xs := packTokens(set, x, ldx, tokens, s.In)
	w := &s.rows
	run := w.gradientRun(Threads())
	runs := ceilDiv(w.slabs(), run)
	panels := ceilDiv(tokens, PanelTokens)
	Parallel(w.blocks()*runs, func(i int) {
		block, first := i/runs, i%runs*run
		count := min(run, w.slabs()-first)
		for p := range panels {
			dyp := w.blockOf(dy, p, block)
			xp := xs.data[p*w.width*PanelTokens:][:w.width*PanelTokens]
			xNext, dyNext := xp, dyp
			if p+1 < panels {
				xNext = xs.data[(p+1)*w.width*PanelTokens:][:w.width*PanelTokens]
				dyNext = w.blockOf(dy, p+1, block)
			}
			for j := range count {
				code, lo, hi := w.tile(block, first+j)
				next := w.slabOf(xp, first+j+1)
				if j == count-1 {
					next = w.slabOf(xNext, first)
				}
				after := dyNext[len(dyNext)/count*j:]
				sparseWork.add((hi-lo)*min(PanelTokens, tokens-p*PanelTokens), (hi-lo)*PanelTokens)
				set.PanelSDDMM(dw[lo:hi], dyp, w.slabOf(xp, first+j), code, next, after)
			}
		}
	})
	xs.giveBack()
}

// gradientBytes is the part of the second-level cache for the gradients and the
// code of one task's tiles.
const gradientBytes = 384 << 10

// gradientRun returns the number of tiles of a task of gradient: what fits, but
// four tasks a thread where there are so many tiles.
func (w *walk) gradientRun(threads int) int {
	tiles := w.blocks() * w.slabs()
	bytes := (4*w.kept() + 2*len(w.code)) / tiles
	return max(1, min(w.slabs(), gradientBytes/max(1, bytes), tiles/(4*threads)))
}

// direct computes dst (tokens, n) = x (tokens, width) Wᵀ token by token, in
// parallel over the row blocks.
func (w *walk) direct(dst []float32, ldd int, x []float32, ldx int, values []float32, tokens int) {
	Parallel(w.blocks(), func(block int) {
		r0 := block * blockRows
		rows := min(blockRows, w.n-r0)
		for t := range tokens {
			out := dst[t*ldd+r0:][:rows]
			clear(out)
			for slab := range w.slabs() {
				code, lo, hi := w.tile(block, slab)
				sparseWork.add(hi-lo, hi-lo)
				gatherDots(out, x[t*ldx+slab*w.slab:][:min(w.slab, w.width-slab*w.slab)], code, values[lo:hi])
			}
		}
	})
}

// gatherDots adds one tile times one token to out.
func gatherDots(out, x []float32, code []uint16, w []float32) {
	for len(code) > 0 {
		a, b := code[0], code[1]
		shared, own, left := int(code[2]), int(code[3]), int(code[4])
		both := code[pairHeader:][:shared]
		apart := code[pairHeader+shared:][:2*own]
		rest := code[pairHeader+shared+2*own:][:left]
		// Four chains: shared and own columns of both rows.
		var a0, b0, a1, b1 float32
		v := w[:2*shared]
		for i, j := range both {
			xj := x[j/panelUnit]
			a0 += float32(v[2*i] * xj)
			b0 += float32(v[2*i+1] * xj)
		}
		v = w[2*shared:][:len(apart)]
		for i := 0; i+1 < len(apart) && i+1 < len(v); i += 2 {
			a1 += float32(v[i] * x[apart[i]/panelUnit])
			b1 += float32(v[i+1] * x[apart[i+1]/panelUnit])
		}
		v = w[2*(shared+own):][:left]
		for i, j := range rest {
			a0 += float32(v[i] * x[j/panelUnit])
		}
		out[a] += a0 + a1
		if a != b {
			out[b] += b0 + b1
		}
		w = w[2*(shared+own)+left:]
		code = code[pairHeader+codeLen(shared, own, left):]
	}
}
