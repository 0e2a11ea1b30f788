package kernels

import "iter"

// The sparse products work on panels of PanelTokens tokens, feature-major
// inside, so that one kept weight meets contiguous numbers. A panel is cut
// into slabs of features that fit the first-level cache, and the rows of the
// matrix into blocks whose outputs fit the second.
const (
	// panelGroup is the number of panels that are packed before they are used,
	// which bounds the scratch memory.
	panelGroup = 8
	// directTokens is the number of tokens up to which they are multiplied one
	// by one, as in decoding.
	directTokens = 4
)

// InPanels, given as a row stride to the products of Sparse, says that the
// matrix of activations lies in panels, as PackPanels writes it. The padding of
// a panel is read as tokens and written: where a weight gradient is wanted, it
// must be zero in dy and finite in x.
const InPanels = -1

// Forward computes the product of x (tokens, In) and the transpose of W:
//
//	dst[t,i] = sum over the kept (i,j) of w[i,j]*x[t,j]
//
// dst is (tokens, Out), overwritten; w holds the kept values; ldd and ldx are
// row strides or InPanels, which does not change the bits beyond four tokens.
// dst must not overlap x. It panics if a slice is too short.
func (s *Sparse) Forward(dst []float32, ldd int, x []float32, ldx int, w []float32, tokens int) {
	must(holdsTokens(dst, ldd, tokens, s.Out), "kernels: Sparse.Forward: dst does not hold tokens × out")
	must(holdsTokens(x, ldx, tokens, s.In), "kernels: Sparse.Forward: x does not hold tokens × in")
	must(len(w) >= s.Kept(), "kernels: Sparse.Forward: w is shorter than the kept weights")
	if s.rows.empty(dst, ldd, tokens, false) {
		return
	}
	if tokens <= directTokens && ldd != InPanels && ldx != InPanels {
		s.rows.direct(dst, ldd, x, ldx, w, tokens)
		return
	}
	set := current
	for t0, count := range groups(tokens) {
		xs := panelsOf(set, x, ldx, t0, count, s.In)
		s.rows.multiply(set, fromToken(dst, ldd, t0, s.Out), ldd, xs.data, w, count, false)
		xs.giveBack()
	}
}

// BackwardInput computes the product of dy (tokens, Out) and W:
//
//	dx[t,j] (+)= sum over the kept (i,j) of dy[t,i]*w[i,j]
//
// dx is (tokens, In), overwritten, or added to if accumulate; wt holds the kept
// values as Transpose writes them; lddx and ldy are row strides or InPanels. dx
// must not overlap dy. It panics if a slice is too short.
func (s *Sparse) BackwardInput(dx []float32, lddx int, dy []float32, ldy int, wt []float32, tokens int, accumulate bool) {
	s.backward(dx, lddx, nil, dy, ldy, nil, 0, wt, tokens, accumulate)
}

// BackwardWeight adds the weight gradient at the kept places only:
//
//	dw[i,j] += sum over t of dy[t,i]*x[t,j]
//
// dw holds one float32 per kept weight; ldy and ldx are row strides or
// InPanels. Panels of tokens are added in order. It panics if a slice is too
// short.
func (s *Sparse) BackwardWeight(dw []float32, dy []float32, ldy int, x []float32, ldx int, tokens int) {
	must(holdsTokens(dy, ldy, tokens, s.Out), "kernels: Sparse.BackwardWeight: dy does not hold tokens × out")
	must(holdsTokens(x, ldx, tokens, s.In), "kernels: Sparse.BackwardWeight: x does not hold tokens × in")
	must(len(dw) >= s.Kept(), "kernels: Sparse.BackwardWeight: dw is shorter than the kept weights")
	if s.Kept() == 0 {
		return
	}
	set := current
	for t0, count := range groups(tokens) {
		dys := panelsOf(set, dy, ldy, t0, count, s.Out)
		s.gradient(set, dw, dys.data, x, ldx, t0, count)
		dys.giveBack()
	}
}

// Backward is BackwardInput and BackwardWeight on the same dy, which is packed
// once for both; the bits are theirs. dx must not overlap x.
func (s *Sparse) Backward(dx []float32, lddx int, dw []float32, dy []float32, ldy int, x []float32, ldx int, wt []float32, tokens int, accumulate bool) {
	must(holdsTokens(x, ldx, tokens, s.In), "kernels: Sparse.Backward: x does not hold tokens × in")
	must(len(dw) >= s.Kept(), "kernels: Sparse.Backward: dw is shorter than the kept weights")
	s.backward(dx, lddx, dw, dy, ldy, x, ldx, wt, tokens, accumulate)
}

// backward is Backward, without the weight gradient if x is nil.
func (s *Sparse) backward(dx []float32, lddx int, dw []float32, dy []float32, ldy int, x []float32, ldx int, wt []float32, tokens int, accumulate bool) {
	must(holdsTokens(dx, lddx, tokens, s.In), "kernels: Sparse.BackwardInput: dx does not hold tokens × in")
	must(holdsTokens(dy, ldy, tokens, s.Out), "kernels: Sparse.BackwardInput: dy does not hold tokens × out")
	must(len(wt) >= s.Kept(), "kernels: Sparse.BackwardInput: wt is shorter than the kept weights")
	if s.cols.empty(dx, lddx, tokens, accumulate) {
		return
	}
	set := current
	for t0, count := range groups(tokens) {
		dys := panelsOf(set, dy, ldy, t0, count, s.Out)
		s.cols.multiply(set, fromToken(dx, lddx, t0, s.In), lddx, dys.data, wt, count, accumulate)
		if x != nil {
			s.gradient(set, dw, dys.data, x, ldx, t0, count)
		}
		dys.giveBack()
	}
}

// groups yields the first token and the number of tokens of panelGroup panels
// at a time.
func groups(tokens int) iter.Seq2[int, int] {
	return func(yield func(t0, count int) bool) {
		for t0 := 0; t0 < tokens; t0 += panelGroup * PanelTokens {
			if !yield(t0, min(panelGroup*PanelTokens, tokens-t0)) {
				return
			}
		}
	}
}

// empty reports whether there is nothing to sum, and settles that case.
func (w *walk) empty(dst []float32, ldd int, tokens int, accumulate bool) bool {
	if tokens > 0 && w.n > 0 && w.kept() > 0 {
		return false
	}
	switch {
	case accumulate || w.n == 0:
	case ldd == InPanels:
		clear(dst[:PanelLen(tokens, w.n)])
	default:
		clearRows(dst, ldd, tokens, w.n)
	}
	return true
}

// productArgs are the arguments of a product, see multiply and direct.
type productArgs struct {
	set        *Set
	w          *walk
	dst        []float32
	ldd        int
	x          []float32
	ldx        int
	values     []float32
	tokens     int
	panels     int
	accumulate bool
}

var productCalls calls[productArgs]

// multiply computes dst (tokens, n) (+)= x Wᵀ from packed panels of x.
// Consecutive tasks share a block of weights, which stays in cache while the
// panels go by.
func (w *walk) multiply(set *Set, dst []float32, ldd int, x, values []float32, tokens int, accumulate bool) {
	panels := ceilDiv(tokens, PanelTokens)
	productCalls.parallel(panels*w.blocks(), productArgs{set, w, dst, ldd, x, InPanels, values, tokens, panels, accumulate}, (*productArgs).panelBlock)
}

// panelBlock computes the outputs of one row block for one panel.
func (a *productArgs) panelBlock(i int) {
	w, block, p := a.w, i/a.panels, i%a.panels
	r0, t0 := block*blockRows, p*PanelTokens
	rows, count := min(blockRows, w.n-r0), min(PanelTokens, a.tokens-t0)
	var out []float32
	var unpacked *scratch
	if a.ldd == InPanels {
		out = w.blockOf(a.dst, p, block)
	} else {
		unpacked = borrow(rows * PanelTokens)
		out = unpacked.data
	}
	switch {
	case !a.accumulate:
		clear(out)
	case unpacked != nil:
		pack(a.set, out, PanelTokens, matrix{a.dst, a.ldd, false}, t0, count, r0, rows)
	}
	x := a.x[p*w.width*PanelTokens:]
	kept := 0
	for slab := range w.slabs() {
		code, lo, hi := w.tile(block, slab)
		a.set.PanelSpMM(out, x[slab*w.slab*PanelTokens:], code, a.values[lo:hi], w.slabOf(x, slab+1))
		kept += hi - lo
	}
	sparseWork.add(kept*count, kept*PanelTokens)
	if unpacked != nil {
		a.set.Transpose(a.dst[t0*a.ldd+r0:], a.ldd, out, PanelTokens, rows, count)
		unpacked.giveBack()
	}
}

// slabOf returns a slab of a panel, empty beyond the last.
func (w *walk) slabOf(panel []float32, slab int) []float32 {
	n := w.slab * PanelTokens
	return panel[min(slab*n, len(panel)):min((slab+1)*n, len(panel))]
}

// blockOf returns the rows of a block out of panels of n features.
func (w *walk) blockOf(panels []float32, p, block int) []float32 {
	r0 := block * blockRows
	return panels[(p*w.n+r0)*PanelTokens:][:min(blockRows, w.n-r0)*PanelTokens]
}

// gradientArgs are the arguments of gradient.
type gradientArgs struct {
	set       *Set
	w         *walk
	dw, dy, x []float32
	tokens    int
	run, runs int // tiles of a task, tasks of a row block
}

var gradientCalls calls[gradientArgs]

// gradient adds the weight gradient of packed panels of dy and the count
// tokens of x from t0 on.
func (s *Sparse) gradient(set *Set, dw, dy []float32, x []float32, ldx int, t0, count int) {
	xs := panelsOf(set, x, ldx, t0, count, s.In)
	w := &s.rows
	run := w.gradientRun(Threads())
	runs := ceilDiv(w.slabs(), run)
	gradientCalls.parallel(w.blocks()*runs, gradientArgs{set, w, dw, dy, xs.data, count, run, runs}, (*gradientArgs).task)
	xs.giveBack()
}

// task owns some tiles of a row block, all of which stay in the second-level
// cache with a panel of the block's dy while the panels go by in order.
func (a *gradientArgs) task(i int) {
	w, block, first := a.w, i/a.runs, i%a.runs*a.run
	count := min(a.run, w.slabs()-first)
	panels := ceilDiv(a.tokens, PanelTokens)
	panel := func(p int) (x, dy []float32) {
		return a.x[p*w.width*PanelTokens:][:w.width*PanelTokens], w.blockOf(a.dy, p, block)
	}
	for p := range panels {
		x, dy := panel(p)
		xNext, dyNext := panel(min(p+1, panels-1))
		for j := range count {
			code, lo, hi := w.tile(block, first+j)
			next := w.slabOf(x, first+j+1)
			if j == count-1 {
				next = w.slabOf(xNext, first)
			}
			sparseWork.add((hi-lo)*min(PanelTokens, a.tokens-p*PanelTokens), (hi-lo)*PanelTokens)
			a.set.PanelSDDMM(a.dw[lo:hi], dy, w.slabOf(x, first+j), code, next, dyNext[len(dyNext)/count*j:])
		}
	}
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
	productCalls.parallel(w.blocks(), productArgs{w: w, dst: dst, ldd: ldd, x: x, ldx: ldx, values: values, tokens: tokens}, (*productArgs).directBlock)
}

func (a *productArgs) directBlock(block int) {
	w, r0 := a.w, block*blockRows
	rows := min(blockRows, w.n-r0)
	for t := range a.tokens {
		out := a.dst[t*a.ldd+r0:][:rows]
		clear(out)
		for slab := range w.slabs() {
			code, lo, hi := w.tile(block, slab)
			sparseWork.add(hi-lo, hi-lo)
			gatherDots(out, a.x[t*a.ldx+slab*w.slab:][:min(w.slab, w.width-slab*w.slab)], code, a.values[lo:hi])
		}
	}
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
