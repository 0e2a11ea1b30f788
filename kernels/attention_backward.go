package kernels

// AttentionBackward writes the gradient of AttentionForward with respect to
// qkv. With p[i,j] = exp(s[i,j]-lse[i]), recomputed block by block:
//
//	delta[i] = sum over c of dout[i,c]*out[i,c]
//	ds[i,j]  = p[i,j] * (dout_i·v_j - delta[i])
//	dq_i = sum over j of ds[i,j]*k_j / sqrt(hs)
//	dk_j = sum over i of ds[i,j]*q_i / sqrt(hs)
//	dv_j = sum over i of p[i,j]*dout_i
//
// dqkv and qkv are (b, t, 3*C), dqkv is overwritten; dout and out, the result
// of AttentionForward, are (b, t, C); lse is (b, nh, t). Blocks are summed in a
// fixed order. It panics if a slice is too short.
//
// Source: Dao et al., "FlashAttention", 2022, algorithm 4 without dropout.
func AttentionBackward(dqkv, dout, qkv, out, lse []float32, b, t, nh, hs int) {
	c := nh * hs
	must(b >= 0 && t >= 0 && nh >= 0 && hs >= 0, "kernels: AttentionBackward: negative size")
	must(len(dqkv) >= b*t*3*c && len(qkv) >= b*t*3*c, "kernels: AttentionBackward: dqkv or qkv does not hold b × t × 3c")
	must(len(dout) >= b*t*c && len(out) >= b*t*c, "kernels: AttentionBackward: dout or out does not hold b × t × c")
	must(len(lse) >= b*nh*t, "kernels: AttentionBackward: lse does not hold b × nh × t")
	if b*t*c == 0 {
		return
	}
	args := attentionArgs{set: current, dst: out, lse: lse, qkv: qkv, dout: dout, dqkv: dqkv, t: t, nh: nh, hs: hs, c: c}
	attentionCalls.parallel(b*nh, args, (*attentionArgs).backward)
}

func (a *attentionArgs) backward(i int) {
	out, qkv := a.at(i)
	h := borrowHead(a.set, a.qkv[qkv:], 3*a.c, a.c, a.t, a.hs)
	h.backward(a.dqkv[qkv:], a.c, a.dout[out:], a.dst[out:], a.lse[i*a.t:(i+1)*a.t])
	h.giveBack()
}

// backward computes one head. dqkv has the layout of qkv; dout and out have
// row stride c.
func (h *head) backward(dqkv []float32, c int, dout, out, lse []float32) {
	set, hs := h.set, h.hs
	// Sums live in scratch: the rows of dqkv lie a page or more apart.
	dq, dk, dv := h.take(h.rows*hs), h.take(h.t*hs), h.take(h.t*hs)
	clear(dk)
	clear(dv)
	keys, values := h.packKeys(h.k), h.packKeys(h.v)
	keysByBlock := h.packByBlock(h.k)
	p := h.take(h.rows * h.keys)
	ds := h.take(h.rows * h.keys)
	queriesRight := h.take(h.rows * h.width)
	doutRight := h.take(h.rows * h.width)
	var delta [attnQueries]float32
	for i := 0; i < h.t; i += h.rows {
		rows := min(h.rows, h.t-i)
		do := matrix{dout[i*c:], c, false}
		h.scaleQueries(i, rows)
		clear(dq)
		for r := range rows {
			delta[r] = set.Dot(dout[(i+r)*c:][:hs], out[(i+r)*c:][:hs])
		}
		// The same rows as right operands of the sums over queries.
		pack(set, queriesRight, set.NR, matrix{h.queries, hs, true}, 0, hs, 0, rows)
		pack(set, doutRight, set.NR, matrix{do.data, c, true}, 0, hs, 0, rows)
		for j := 0; j < i+rows; j += h.keys {
			cols := min(h.keys, i+rows-j)
			h.product(p, matrix{h.queries, hs, false}, keys[j*hs:], hs, rows, cols, hs)
			h.product(ds, do, values[j*hs:], hs, rows, cols, hs)
			for r := range rows {
				seen := max(0, min(cols, i+r-j+1))
				pr, dsr := p[r*cols:(r+1)*cols], ds[r*cols:(r+1)*cols]
				clear(pr[seen:])
				clear(dsr[seen:])
				if seen > 0 {
					set.ExpSum(pr[:seen], pr[:seen], lse[i+r])
					scoreGradient(dsr[:seen], pr[:seen], delta[r])
				}
			}
			pack(set, h.packed, set.MR, matrix{p, cols, true}, 0, cols, 0, rows)
			multiplyPacked(set, &attentionWork, dv[j*hs:], hs, h.packed, doutRight, rows, cols, hs, rows, true, h.edge)
			pack(set, h.packed, set.MR, matrix{ds, cols, true}, 0, cols, 0, rows)
			multiplyPacked(set, &attentionWork, dk[j*hs:], hs, h.packed, queriesRight, rows, cols, hs, rows, true, h.edge)
			pack(set, h.packed, set.MR, matrix{ds, cols, false}, 0, rows, 0, cols)
			multiplyPacked(set, &attentionWork, dq, hs, h.packed, keysByBlock[j*h.width:], min(h.keys, h.t-j), rows, hs, cols, true, h.edge)
		}
		set.Scale(dq[:rows*hs], h.scale)
		set.CopyRows(dqkv[i*h.ld:], h.ld, dq, hs, rows, hs)
	}
	set.CopyRows(dqkv[c:], h.ld, dk, hs, h.t, hs)
	set.CopyRows(dqkv[2*c:], h.ld, dv, hs, h.t, hs)
}

// scoreGradient writes ds = p * (ds - delta).
func scoreGradient(ds, p []float32, delta float32) {
	p = p[:len(ds)]
	for i, v := range ds {
		ds[i] = float32(p[i] * (v - delta))
	}
}
