package kernels

// panel is one feature of a panel: its value for each of the tokens.
type panel = [PanelTokens]float32

// panelSpMMRef adds four kept weights at a time, so that a destination is
// loaded and stored once for four multiply-adds. Each element sums its kept
// weights in ascending order of k.
func panelSpMMRef(dst, x []float32, lo, hi []int32, idx []uint16, w []float32) {
	hi = hi[:len(lo)]
	for r := range lo {
		d := (*panel)(dst[r*PanelTokens:])
		ix := idx[lo[r]:hi[r]]
		ws := w[lo[r]:hi[r]][:len(ix)]
		for len(ix) >= 4 && len(ws) >= 4 {
			x0 := (*panel)(x[int(ix[0])*PanelTokens:])
			x1 := (*panel)(x[int(ix[1])*PanelTokens:])
			x2 := (*panel)(x[int(ix[2])*PanelTokens:])
			x3 := (*panel)(x[int(ix[3])*PanelTokens:])
			w0, w1, w2, w3 := ws[0], ws[1], ws[2], ws[3]
			for t := 0; t < PanelTokens-1; t += 2 {
				d[t] = d[t] + float32(w0*x0[t]) + float32(w1*x1[t]) + float32(w2*x2[t]) + float32(w3*x3[t])
				d[t+1] = d[t+1] + float32(w0*x0[t+1]) + float32(w1*x1[t+1]) + float32(w2*x2[t+1]) + float32(w3*x3[t+1])
			}
			ix, ws = ix[4:], ws[4:]
		}
		for k, j := range ix {
			xk := (*panel)(x[int(j)*PanelTokens:])
			wk := ws[k]
			for t := range d {
				d[t] += float32(wk * xk[t])
			}
		}
	}
}

// panelSDDMMRef computes four places at a time, which share the loads of dy.
// Each place sums its even tokens and its odd ones apart.
func panelSDDMMRef(dw, dy, x []float32, lo, hi []int32, idx []uint16) {
	hi = hi[:len(lo)]
	for r := range lo {
		d := (*panel)(dy[r*PanelTokens:])
		ix := idx[lo[r]:hi[r]]
		out := dw[lo[r]:hi[r]][:len(ix)]
		for len(ix) >= 4 && len(out) >= 4 {
			x0 := (*panel)(x[int(ix[0])*PanelTokens:])
			x1 := (*panel)(x[int(ix[1])*PanelTokens:])
			x2 := (*panel)(x[int(ix[2])*PanelTokens:])
			x3 := (*panel)(x[int(ix[3])*PanelTokens:])
			var even0, even1, even2, even3, odd0, odd1, odd2, odd3 float32
			for t := 0; t < PanelTokens-3; t += 4 {
				e, o := d[t], d[t+1]
				even0 += float32(e * x0[t])
				even1 += float32(e * x1[t])
				even2 += float32(e * x2[t])
				even3 += float32(e * x3[t])
				odd0 += float32(o * x0[t+1])
				odd1 += float32(o * x1[t+1])
				odd2 += float32(o * x2[t+1])
				odd3 += float32(o * x3[t+1])
				e, o = d[t+2], d[t+3]
				even0 += float32(e * x0[t+2])
				even1 += float32(e * x1[t+2])
				even2 += float32(e * x2[t+2])
				even3 += float32(e * x3[t+2])
				odd0 += float32(o * x0[t+3])
				odd1 += float32(o * x1[t+3])
				odd2 += float32(o * x2[t+3])
				odd3 += float32(o * x3[t+3])
			}
			out[0] += even0 + odd0
			out[1] += even1 + odd1
			out[2] += even2 + odd2
			out[3] += even3 + odd3
			ix, out = ix[4:], out[4:]
		}
		for k, j := range ix {
			xk := (*panel)(x[int(j)*PanelTokens:])
			var even, odd float32
			for t := 0; t < PanelTokens-1; t += 2 {
				even += float32(d[t] * xk[t])
				odd += float32(d[t+1] * xk[t+1])
			}
			out[k] += even + odd
		}
	}
}
