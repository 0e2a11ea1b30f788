package kernels

// multiplyFew computes dst (tokens, n) = x (tokens, width) Wᵀ for at most
// fewTokens tokens, in parallel over the row blocks. Every weight is read once,
// which is what bounds decoding.
func (w *walk) multiplyFew(set *Set, dst []float32, ldd int, x []float32, ldx int, values []float32, tokens int, then Epilogue) {
	productCalls.parallel(w.blocks(), productArgs{set: set, w: w, dst: dst, ldd: ldd, x: x, ldx: ldx, values: values, tokens: tokens, then: then}, (*productArgs).fewBlock)
}

// fewBlock computes the outputs of one row block.
func (a *productArgs) fewBlock(block int) {
	w, r0 := a.w, block*blockRows
	out, rows := a.dst[r0:], min(blockRows, a.w.n-r0)
	clearRows(out, a.ldd, a.tokens, rows)
	kept := 0
	for slab := range w.slabs() {
		c0 := slab * w.slab
		code, lo, hi := w.tile(block, slab)
		a.set.FewSpMM(out, a.ldd, a.x[c0:], a.ldx, min(w.slab, w.width-c0), a.tokens, code, a.values[lo:hi])
		kept += hi - lo
	}
	sparseWork.add(kept*a.tokens, kept*a.tokens)
	then := a.then.from(0, r0, a.ldd)
	then.apply(a.set, out, a.ldd, a.tokens, rows)
}
