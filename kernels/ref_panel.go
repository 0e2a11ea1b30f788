package kernels

// panel is one feature of a panel: its value for each of the tokens.
type panel = [PanelTokens]float32

// feature returns the panel of a column of the code.
func feature(x []float32, col uint16) *panel { return (*panel)(x[int(col)*2:]) }

// panelSpMMRef adds each kept weight in the order of the code.
func panelSpMMRef(dst, x []float32, code []uint16, w, _ []float32) {
	for len(code) > 0 {
		a, b := (*panel)(dst[int(code[0])*PanelTokens:]), (*panel)(dst[int(code[1])*PanelTokens:])
		shared, own, left := int(code[2]), int(code[3]), int(code[4])
		code = code[pairHeader:]
		for _, j := range code[:shared] {
			xj, wa, wb := feature(x, j), w[0], w[1]
			for t, v := range xj {
				a[t] += float32(wa * v)
				b[t] += float32(wb * v)
			}
			w = w[2:]
		}
		for i := range own {
			xa, xb, wa, wb := feature(x, code[shared+2*i]), feature(x, code[shared+2*i+1]), w[0], w[1]
			for t := range xa {
				a[t] += float32(wa * xa[t])
				b[t] += float32(wb * xb[t])
			}
			w = w[2:]
		}
		for _, j := range code[shared+2*own:][:left] {
			xj, wa := feature(x, j), w[0]
			for t, v := range xj {
				a[t] += float32(wa * v)
			}
			w = w[1:]
		}
		code = code[codeLen(shared, own, left):]
	}
}

// panelSDDMMRef computes the two places of a step at a time. Each place sums
// its tokens in four chains.
func panelSDDMMRef(dw, dy, x []float32, code []uint16, _, _ []float32) {
	for len(code) > 0 {
		a, b := (*panel)(dy[int(code[0])*PanelTokens:]), (*panel)(dy[int(code[1])*PanelTokens:])
		shared, own, left := int(code[2]), int(code[3]), int(code[4])
		code = code[pairHeader:]
		for _, j := range code[:shared] {
			xj := feature(x, j)
			dw[0] += dotPanel(a, xj)
			dw[1] += dotPanel(b, xj)
			dw = dw[2:]
		}
		for i := range own {
			dw[0] += dotPanel(a, feature(x, code[shared+2*i]))
			dw[1] += dotPanel(b, feature(x, code[shared+2*i+1]))
			dw = dw[2:]
		}
		for _, j := range code[shared+2*own:][:left] {
			dw[0] += dotPanel(a, feature(x, j))
			dw = dw[1:]
		}
		code = code[codeLen(shared, own, left):]
	}
}

// dotPanel returns the sum of a[t]*b[t] in four chains.
func dotPanel(a, b *panel) float32 {
	var s0, s1, s2, s3 float32
	for t := 0; t < PanelTokens-3; t += 4 {
		s0 += float32(a[t] * b[t])
		s1 += float32(a[t+1] * b[t+1])
		s2 += float32(a[t+2] * b[t+2])
		s3 += float32(a[t+3] * b[t+3])
	}
	return (s0 + s1) + (s2 + s3)
}
