package kernels

// Epilogue is what a product does to a part of dst (m, n) as soon as its sums
// are complete, while it is in the second-level cache. What is nil is left out;
// the rest happens in this order, with the bits of AddBias, Add, GELUForward and
// GELUBackward on the whole of dst:
//
//	dst[i,j] += Bias[j]
//	dst[i,j]  = Residual[i,j] + dst[i,j]
//	GELU[i,j] = gelu(dst[i,j])
//	dst[i,j] *= gelu'(GELUInput[i,j])
//
// Bias is (n), the others are (m, n) with the row stride of dst, or in panels if
// dst is, and must not overlap it.
type Epilogue struct {
	Bias, Residual, GELU, GELUInput []float32
}

// check panics unless e has room for a product of m × n, which may lie in panels.
func (e *Epilogue) check(ldd, m, n int) {
	must(e.Bias == nil || len(e.Bias) >= n, "kernels: Epilogue: Bias is shorter than n")
	must(e.Residual == nil || holdsTokens(e.Residual, ldd, m, n), "kernels: Epilogue: Residual does not hold m × n")
	must(e.GELU == nil || holdsTokens(e.GELU, ldd, m, n), "kernels: Epilogue: GELU does not hold m × n")
	must(e.GELUInput == nil || holdsTokens(e.GELUInput, ldd, m, n), "kernels: Epilogue: GELUInput does not hold m × n")
}

// fromToken returns e for the tokens of dst (tokens, n) from t0 on, a multiple of
// PanelTokens.
func (e *Epilogue) fromToken(ldd, t0, n int) Epilogue {
	if ldd == InPanels {
		ldd = n
	}
	return e.from(t0, 0, ldd)
}

// from returns e for the part of dst that starts at row i, column j.
func (e *Epilogue) from(i, j, ldd int) Epilogue {
	skip := func(s []float32, n int) []float32 {
		if s == nil {
			return nil
		}
		return s[n:]
	}
	at := i*ldd + j
	return Epilogue{skip(e.Bias, j), skip(e.Residual, at), skip(e.GELU, at), skip(e.GELUInput, at)}
}

// apply does it to a part of rows × cols at dst.
func (e *Epilogue) apply(set *Set, dst []float32, ldd, rows, cols int) {
	if e.Bias == nil && e.Residual == nil && e.GELU == nil && e.GELUInput == nil {
		return
	}
	for i := range rows {
		at := i * ldd
		d := dst[at:][:cols]
		if e.Bias != nil {
			set.Add(d, d, e.Bias[:cols])
		}
		if e.Residual != nil {
			set.Add(d, e.Residual[at:][:cols], d)
		}
		if e.GELU != nil {
			set.GELU(e.GELU[at:][:cols], d)
		}
		if e.GELUInput != nil {
			set.GELUGrad(d, d, e.GELUInput[at:][:cols])
		}
	}
}

// applyPanel does it to features of a panel, r0 and up, which lie at number at of
// the panels; out is (features, width).
func (e *Epilogue) applyPanel(set *Set, out []float32, at, width, r0 int) {
	if e.Bias != nil {
		for i := 0; i < len(out); i += width {
			set.Axpy(out[i:][:width], panelOnes[:width], e.Bias[r0+i/width])
		}
	}
	if e.Residual != nil {
		set.Add(out, e.Residual[at:][:len(out)], out)
	}
	if e.GELU != nil {
		set.GELU(e.GELU[at:][:len(out)], out)
	}
	if e.GELUInput != nil {
		set.GELUGrad(out, out, e.GELUInput[at:][:len(out)])
	}
}
