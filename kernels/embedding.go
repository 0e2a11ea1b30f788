package kernels

// EmbeddingForward adds token and position embeddings:
//
//	dst[i,:] = wte[ids[i],:] + wpe[i % t,:]
//
// ids holds whole sequences of t tokens, dst is (len(ids), c), wte (V, c),
// wpe at least (t, c). It panics if a slice is too short or an id is outside
// the vocabulary.
func EmbeddingForward(dst []float32, ids []int32, wte, wpe []float32, t, c int) {
	must(t > 0 && c >= 0, "kernels: EmbeddingForward: t or c out of range")
	must(len(dst) >= len(ids)*c, "kernels: EmbeddingForward: dst does not hold len(ids) × c")
	must(len(wpe) >= min(t, len(ids))*c, "kernels: EmbeddingForward: wpe does not hold t × c")
	if c == 0 {
		return
	}
	args := embeddingArgs{set: current, x: dst, wte: wte, wpe: wpe, ids: ids, t: t, c: c}
	embeddingCalls.chunks(len(ids), max(1, elementChunk/c), args, (*embeddingArgs).forward)
}

// embeddingArgs are the arguments of the two embedding kernels.
type embeddingArgs struct {
	set         *Set
	x, wte, wpe []float32 // x: dst or dy
	ids         []int32
	t, c        int
	owners      int
}

var embeddingCalls calls[embeddingArgs]

// forward computes rows lo to hi of dst.
func (a *embeddingArgs) forward(lo, hi int) {
	c, vocab := a.c, len(a.wte)/a.c
	for i := lo; i < hi; i++ {
		id, pos := int(a.ids[i]), i%a.t
		must(id >= 0 && id < vocab, "kernels: EmbeddingForward: id is outside the vocabulary")
		a.set.Add(a.x[i*c:(i+1)*c], a.wte[id*c:(id+1)*c], a.wpe[pos*c:(pos+1)*c])
	}
}

// backward adds to the rows of owner w.
func (a *embeddingArgs) backward(w int) {
	for i, id := range a.ids {
		row := a.x[i*a.c : (i+1)*a.c]
		if int(id)%a.owners == w {
			d := a.wte[int(id)*a.c:][:a.c]
			a.set.Add(d, d, row)
		}
		if pos := i % a.t; pos%a.owners == w {
			d := a.wpe[pos*a.c:][:a.c]
			a.set.Add(d, d, row)
		}
	}
}

// EmbeddingBackward adds the gradients of EmbeddingForward:
//
//	dwte[ids[i],:] += dy[i,:]
//	dwpe[i % t,:]  += dy[i,:]
//
// A thread owns whole rows of dwte and dwpe and adds to each in ascending
// order of i. It panics if a slice is too short or an id is outside the
// vocabulary.
func EmbeddingBackward(dwte, dwpe []float32, dy []float32, ids []int32, t, c int) {
	must(t > 0 && c >= 0, "kernels: EmbeddingBackward: t or c out of range")
	must(len(dy) >= len(ids)*c, "kernels: EmbeddingBackward: dy does not hold len(ids) × c")
	must(len(dwpe) >= min(t, len(ids))*c, "kernels: EmbeddingBackward: dwpe does not hold t × c")
	if c == 0 {
		return
	}
	vocab := len(dwte) / c
	for _, id := range ids {
		must(id >= 0 && int(id) < vocab, "kernels: EmbeddingBackward: id is outside the vocabulary")
	}
	owners := Threads()
	args := embeddingArgs{set: current, x: dy, wte: dwte, wpe: dwpe, ids: ids, t: t, c: c, owners: owners}
	embeddingCalls.parallel(owners, args, (*embeddingArgs).backward)
}
