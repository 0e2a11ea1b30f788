package gpt

// BufferFloats returns how many float32 numbers the buffers of the last pass
// held: its activations and, after LossAndGrad, the gradients in flight.
// Buffers that blocks share are counted once.
func (m *Model) BufferFloats() int64 {
	seen := map[*float32]bool{}
	var n int64
	add := func(list ...[]float32) {
		for _, s := range list {
			if len(s) > 0 && !seen[&s[0]] {
				seen[&s[0]] = true
				n += int64(len(s))
			}
		}
	}
	a := &m.act
	for i := range a.layers {
		l := &a.layers[i]
		add(l.resid1, l.ln1, l.mean1, l.rstd1, l.qkv, l.att, l.lse, l.resid2, l.ln2, l.mean2, l.rstd2, l.fc, l.gelu)
	}
	add(a.resid, a.lnf, a.meanf, a.rstdf, a.losses, a.logits, a.sum, a.dresid, a.dtmp, a.dtmp2, a.drop, a.picked)
	return n
}
