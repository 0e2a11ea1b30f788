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
	vocab := len(wte) / c
	set := current
	parallelChunks(len(ids), max(1, elementChunk/c), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			id, pos := int(ids[i]), i%t
			must(id >= 0 && id < vocab, "kernels: EmbeddingForward: id is outside the vocabulary")
			set.Add(dst[i*c:(i+1)*c], wte[id*c:(id+1)*c], wpe[pos*c:(pos+1)*c])
		}
	})
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
	set := current
	owners := Threads()
	Parallel(owners, func(w int) {
		for i, id := range ids {
			row := dy[i*c : (i+1)*c]
			if int(id)%owners == w {
				d := dwte[int(id)*c:][:c]
				set.Add(d, d, row)
			}
			if pos := i % t; pos%owners == w {
				d := dwpe[pos*c:][:c]
				set.Add(d, d, row)
			}
		}
	})
}
