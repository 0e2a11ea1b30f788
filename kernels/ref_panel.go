package kernels

// panelKernelsRef are the sparse products on panels of any width, which is the
// number of tokens.
func panelKernelsRef(width int) PanelKernels {
	return PanelKernels{
		SpMM:  func(dst, x []float32, code []uint16, w, _ []float32) { panelSpMMRef(dst, x, code, w, width) },
		SDDMM: func(dw, dy, x []float32, code []uint16, _, _ []float32) { panelSDDMMRef(dw, dy, x, code, width) },
	}
}

// featureOf returns a feature of a panel: its value for each of the tokens.
func featureOf(x []float32, number uint16, width int) []float32 {
	return x[int(number)*width:][:width]
}

// panelSpMMRef adds each kept weight in the order of the code.
func panelSpMMRef(dst, x []float32, code []uint16, w []float32, width int) {
	for len(code) > 0 {
		a, b := featureOf(dst, code[0], width), featureOf(dst, code[1], width)
		shared, own, left := int(code[2]), int(code[3]), int(code[4])
		code = code[pairHeader:]
		for _, j := range code[:shared] {
			xj := featureOf(x, j/panelUnit, width)
			axpyRef(a, xj, w[0])
			axpyRef(b, xj, w[1])
			w = w[2:]
		}
		for i := range own {
			axpyRef(a, featureOf(x, code[shared+2*i]/panelUnit, width), w[0])
			axpyRef(b, featureOf(x, code[shared+2*i+1]/panelUnit, width), w[1])
			w = w[2:]
		}
		for _, j := range code[shared+2*own:][:left] {
			axpyRef(a, featureOf(x, j/panelUnit, width), w[0])
			w = w[1:]
		}
		code = code[codeLen(shared, own, left):]
	}
}

// panelSDDMMRef computes one place after the other.
func panelSDDMMRef(dw, dy, x []float32, code []uint16, width int) {
	for len(code) > 0 {
		a, b := featureOf(dy, code[0], width), featureOf(dy, code[1], width)
		shared, own, left := int(code[2]), int(code[3]), int(code[4])
		code = code[pairHeader:]
		for _, j := range code[:shared] {
			xj := featureOf(x, j/panelUnit, width)
			dw[0] += dotPanel(a, xj)
			dw[1] += dotPanel(b, xj)
			dw = dw[2:]
		}
		for i := range own {
			dw[0] += dotPanel(a, featureOf(x, code[shared+2*i]/panelUnit, width))
			dw[1] += dotPanel(b, featureOf(x, code[shared+2*i+1]/panelUnit, width))
			dw = dw[2:]
		}
		for _, j := range code[shared+2*own:][:left] {
			dw[0] += dotPanel(a, featureOf(x, j/panelUnit, width))
			dw = dw[1:]
		}
		code = code[codeLen(shared, own, left):]
	}
}

// dotPanel returns the sum of a[t]*b[t] in four chains. The width of a panel is
// a multiple of four.
func dotPanel(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	for len(a) >= 4 && len(b) >= 4 {
		s0 += float32(a[0] * b[0])
		s1 += float32(a[1] * b[1])
		s2 += float32(a[2] * b[2])
		s3 += float32(a[3] * b[3])
		a, b = a[4:], b[4:]
	}
	return (s0 + s1) + (s2 + s3)
}

// fewSpMMRef sums every row in two chains, shared and other columns.
func fewSpMMRef(dst []float32, ldd int, x []float32, ldx, width, tokens int, code []uint16, w []float32) {
	for t := range tokens {
		fewTokenRef(dst[t*ldd:], x[t*ldx:][:width], code, w)
	}
}

func fewTokenRef(dst, x []float32, code []uint16, w []float32) {
	for len(code) > 0 {
		a, b := code[0], code[1]
		shared, own, left := int(code[2]), int(code[3]), int(code[4])
		both := code[pairHeader:][:shared]
		apart := code[pairHeader+shared:][:2*own]
		rest := code[pairHeader+shared+2*own:][:left]
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
		dst[a] += a0 + a1
		if a != b {
			dst[b] += b0 + b1
		}
		w = w[2*(shared+own)+left:]
		code = code[pairHeader+codeLen(shared, own, left):]
	}
}
