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
	// fewTokens is the number of tokens up to which they are multiplied where
	// they lie, as in decoding.
	fewTokens = 2
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
// row strides or InPanels, which does not change the bits beyond two tokens.
// dst must not overlap x. It panics if a slice is too short.
func (s *Sparse) Forward(dst []float32, ldd int, x []float32, ldx int, w []float32, tokens int) {
	s.ForwardThen(dst, ldd, x, ldx, w, tokens, Epilogue{})
}

// ForwardThen is Forward followed by what then says.
func (s *Sparse) ForwardThen(dst []float32, ldd int, x []float32, ldx int, w []float32, tokens int, then Epilogue) {
	must(holdsTokens(dst, ldd, tokens, s.Out), "kernels: Sparse.Forward: dst does not hold tokens × out")
	must(holdsTokens(x, ldx, tokens, s.In), "kernels: Sparse.Forward: x does not hold tokens × in")
	must(len(w) >= s.Kept(), "kernels: Sparse.Forward: w is shorter than the kept weights")
	then.check(ldd, tokens, s.Out)
	set := current
	if s.rows.empty(set, dst, ldd, tokens, false, then) {
		return
	}
	if tokens <= fewTokens && ldd != InPanels && ldx != InPanels {
		s.rows.multiplyFew(set, dst, ldd, x, ldx, w, tokens, then)
		return
	}
	for t0, count := range groups(tokens) {
		xs := panelsOf(set, x, ldx, t0, count, s.In)
		s.rows.multiply(set, fromToken(dst, ldd, t0, s.Out), ldd, xs.data, w, count, false, then.fromToken(ldd, t0, s.Out))
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
	s.backward(dx, lddx, nil, dy, ldy, nil, 0, wt, tokens, accumulate, Epilogue{})
}

// BackwardInputThen is BackwardInput followed by what then says.
func (s *Sparse) BackwardInputThen(dx []float32, lddx int, dy []float32, ldy int, wt []float32, tokens int, accumulate bool, then Epilogue) {
	s.backward(dx, lddx, nil, dy, ldy, nil, 0, wt, tokens, accumulate, then)
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
	s.BackwardThen(dx, lddx, dw, dy, ldy, x, ldx, wt, tokens, accumulate, Epilogue{})
}

// BackwardThen is Backward; what then says follows the input gradient.
func (s *Sparse) BackwardThen(dx []float32, lddx int, dw []float32, dy []float32, ldy int, x []float32, ldx int, wt []float32, tokens int, accumulate bool, then Epilogue) {
	must(holdsTokens(x, ldx, tokens, s.In), "kernels: Sparse.Backward: x does not hold tokens × in")
	must(len(dw) >= s.Kept(), "kernels: Sparse.Backward: dw is shorter than the kept weights")
	s.backward(dx, lddx, dw, dy, ldy, x, ldx, wt, tokens, accumulate, then)
}

// backward is BackwardThen, without the weight gradient if x is nil.
func (s *Sparse) backward(dx []float32, lddx int, dw []float32, dy []float32, ldy int, x []float32, ldx int, wt []float32, tokens int, accumulate bool, then Epilogue) {
	must(holdsTokens(dx, lddx, tokens, s.In), "kernels: Sparse.BackwardInput: dx does not hold tokens × in")
	must(holdsTokens(dy, ldy, tokens, s.Out), "kernels: Sparse.BackwardInput: dy does not hold tokens × out")
	must(len(wt) >= s.Kept(), "kernels: Sparse.BackwardInput: wt is shorter than the kept weights")
	then.check(lddx, tokens, s.In)
	set := current
	if s.cols.empty(set, dx, lddx, tokens, accumulate, then) {
		return
	}
	for t0, count := range groups(tokens) {
		dys := panelsOf(set, dy, ldy, t0, count, s.Out)
		s.cols.multiply(set, fromToken(dx, lddx, t0, s.In), lddx, dys.data, wt, count, accumulate, then.fromToken(lddx, t0, s.In))
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
func (w *walk) empty(set *Set, dst []float32, ldd int, tokens int, accumulate bool, then Epilogue) bool {
	if tokens > 0 && w.n > 0 && w.kept() > 0 {
		return false
	}
	switch {
	case w.n == 0:
	case ldd == InPanels:
		if !accumulate {
			clear(dst[:PanelLen(tokens, w.n)])
		}
		for i := range ceilDiv(tokens, PanelTokens) {
			p := panelOf(tokens, i)
			then.applyPanel(set, p.of(dst, w.n), p.t0*w.n, p.width, 0)
		}
	default:
		if !accumulate {
			clearRows(dst, ldd, tokens, w.n)
		}
		then.apply(set, dst, ldd, tokens, w.n)
	}
	return true
}

// productArgs are the arguments of a product, see multiply and multiplyFew.
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
	then       Epilogue
}

var productCalls calls[productArgs]

// multiply computes dst (tokens, n) (+)= x Wᵀ from packed panels of x, and then
// what follows, while a block of dst is in the second-level cache.
// Consecutive tasks share a block of weights, which stays in cache while the
// panels go by.
func (w *walk) multiply(set *Set, dst []float32, ldd int, x, values []float32, tokens int, accumulate bool, then Epilogue) {
	panels := ceilDiv(tokens, PanelTokens)
	productCalls.parallel(panels*w.blocks(), productArgs{set, w, dst, ldd, x, InPanels, values, tokens, panels, accumulate, then}, (*productArgs).panelBlock)
}

// panelBlock computes the outputs of one row block for one panel.
func (a *productArgs) panelBlock(i int) {
	w, block, p := a.w, i/a.panels, panelOf(a.tokens, i%a.panels)
	r0 := block * blockRows
	rows := min(blockRows, w.n-r0)
	var out []float32
	var unpacked *scratch
	if a.ldd == InPanels {
		out = w.blockOf(a.dst, p, block)
	} else {
		unpacked = borrow(rows * p.width)
		out = unpacked.data
	}
	switch {
	case !a.accumulate:
		clear(out)
	case unpacked != nil:
		pack(a.set, out, p.width, matrix{a.dst, a.ldd, false}, p.t0, p.count, r0, rows)
	}
	x := p.of(a.x, w.width)
	kept := 0
	for slab := range w.slabs() {
		code, lo, hi := w.tile(block, slab)
		a.set.Panels[p.kind].SpMM(out, w.slabOf(x, p, slab), code, a.values[lo:hi], w.slabOf(x, p, slab+1))
		kept += hi - lo
	}
	sparseWork.add(kept*p.count, kept*p.width)
	if unpacked == nil {
		a.then.applyPanel(a.set, out, p.t0*w.n+r0*p.width, p.width, r0)
		return
	}
	dst := a.dst[p.t0*a.ldd+r0:]
	a.set.Transpose(dst, a.ldd, out, p.width, rows, p.count)
	unpacked.giveBack()
	then := a.then.from(p.t0, r0, a.ldd)
	then.apply(a.set, dst, a.ldd, p.count, rows)
}

// slabOf returns a slab of the data of a panel, empty beyond the last.
func (w *walk) slabOf(x []float32, p panel, slab int) []float32 {
	n := w.slab * p.width
	return x[min(slab*n, len(x)):min((slab+1)*n, len(x))]
}

// blockOf returns the rows of a block out of a panel of n features.
func (w *walk) blockOf(x []float32, p panel, block int) []float32 {
	r0 := block * blockRows
	return p.of(x, w.n)[r0*p.width:][:min(blockRows, w.n-r0)*p.width]
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
	for i := range panels {
		p, after := panelOf(a.tokens, i), panelOf(a.tokens, min(i+1, panels-1))
		x, dy := p.of(a.x, w.width), w.blockOf(a.dy, p, block)
		xAfter, dyAfter := after.of(a.x, w.width), w.blockOf(a.dy, after, block)
		for j := range count {
			code, lo, hi := w.tile(block, first+j)
			next := w.slabOf(x, p, first+j+1)
			if j == count-1 {
				next = w.slabOf(xAfter, after, first)
			}
			sparseWork.add((hi-lo)*p.count, (hi-lo)*p.width)
			a.set.Panels[p.kind].SDDMM(a.dw[lo:hi], dy, w.slabOf(x, p, first+j), code, next, dyAfter[len(dyAfter)/count*j:])
		}
	}
}

// gradientBytes is the part of the second-level cache for the gradients and the
// code of one task's tiles.
const gradientBytes = 256 << 10

// gradientRun returns the number of tiles of a task of gradient: what fits, but
// four tasks a thread where there are so many tiles.
func (w *walk) gradientRun(threads int) int {
	tiles := w.blocks() * w.slabs()
	bytes := (4*w.kept() + 2*len(w.code)) / tiles
	return max(1, min(w.slabs(), gradientBytes/max(1, bytes), tiles/(4*threads)))
}
