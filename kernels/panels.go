package kernels

// Panels: activations (tokens, n) as (panels, n, PanelTokens), the last panel
// filled up. The sparse products work on them; what lies so between two of them
// need not be packed.

// PanelLen returns the length of activations (tokens, n) in panels.
func PanelLen(tokens, n int) int { return roundUp(tokens, PanelTokens) * n }

// PackPanels writes x (tokens, n) in panels, with zeros in the padding:
//
//	dst[(t/P*n+j)*P + t%P] = x[t,j], P = PanelTokens
//
// ldx is the row stride of x. It panics if a slice is too short.
func PackPanels(dst, x []float32, ldx, tokens, n int) {
	must(holds(x, ldx, tokens, n), "kernels: PackPanels: x does not hold tokens × n")
	must(len(dst) >= PanelLen(tokens, n), "kernels: PackPanels: dst does not hold the panels")
	packPanels(current, dst, x, ldx, tokens, n)
}

// packColumns is the number of features that one task packs.
const packColumns = 256

// packArgs are the arguments of packPanels.
type packArgs struct {
	set            *Set
	dst, x         []float32
	ldx, tokens, n int
}

var packCalls calls[packArgs]

func packPanels(set *Set, dst, x []float32, ldx, tokens, n int) {
	panels, across := ceilDiv(tokens, PanelTokens), ceilDiv(n, packColumns)
	packCalls.parallel(panels*across, packArgs{set, dst, x, ldx, tokens, n}, func(a *packArgs, i int) {
		across := ceilDiv(a.n, packColumns)
		t0, c0 := i/across*PanelTokens, i%across*packColumns
		count := min(PanelTokens, a.tokens-t0)
		pack(a.set, a.dst[t0*a.n+c0*PanelTokens:], PanelTokens, matrix{a.x, a.ldx, false}, t0, count, c0, min(packColumns, a.n-c0))
	})
}

// panels are activations in panels: the caller's, or packed in scratch.
type panels struct {
	data []float32
	own  *scratch // nil: the caller's
}

// panelsOf returns count tokens of x (tokens, n) from t0 on, a multiple of
// PanelTokens, in panels.
func panelsOf(set *Set, x []float32, ldx, t0, count, n int) panels {
	x = fromToken(x, ldx, t0, n)
	if ldx == InPanels {
		return panels{data: x[:PanelLen(count, n)]}
	}
	s := borrow(PanelLen(count, n))
	packPanels(set, s.data, x, ldx, count, n)
	return panels{s.data, s}
}

func (p panels) giveBack() {
	if p.own != nil {
		p.own.giveBack()
	}
}

// fromToken returns x (tokens, n) from token t0 on, a multiple of PanelTokens.
func fromToken(x []float32, ld, t0, n int) []float32 {
	if ld == InPanels {
		return x[t0*n:]
	}
	return x[t0*ld:]
}

// holdsTokens is holds for a matrix that may lie in panels.
func holdsTokens(x []float32, ld, tokens, n int) bool {
	if ld == InPanels {
		return tokens >= 0 && len(x) >= PanelLen(tokens, n)
	}
	return holds(x, ld, tokens, n)
}

// panelArgs are activations in panels of n features and a number per feature.
type panelArgs struct {
	set       *Set
	x, bias   []float32
	panels, n int
}

var panelCalls calls[panelArgs]

// panelOnes is what a number per feature is multiplied by.
var panelOnes = func() (p panel) {
	for i := range p {
		p[i] = 1
	}
	return p
}()

// panelFeatures is the number of features that one task handles.
const panelFeatures = elementChunk / PanelTokens

// AddBiasPanels adds bias (n) to every token of dst (tokens, n) in panels,
// padding included. It panics if a slice is too short.
func AddBiasPanels(dst, bias []float32, tokens, n int) {
	must(len(dst) >= PanelLen(tokens, n), "kernels: AddBiasPanels: dst does not hold the panels")
	must(len(bias) >= n, "kernels: AddBiasPanels: bias is shorter than n")
	panelCalls.chunks(ceilDiv(tokens, PanelTokens)*n, panelFeatures, panelArgs{set: current, x: dst, bias: bias, n: n}, func(a *panelArgs, lo, hi int) {
		for i := lo; i < hi; i++ {
			a.set.Axpy(a.x[i*PanelTokens:][:PanelTokens], panelOnes[:], a.bias[i%a.n])
		}
	})
}

// BiasBackwardPanels adds the sums over the tokens of dy (tokens, n), in panels
// with zeros in the padding, to dbias (n):
//
//	dbias[j] += sum over t of dy[t,j]
//
// Panels are summed apart and added in order. It panics if a slice is too short.
func BiasBackwardPanels(dbias, dy []float32, tokens, n int) {
	must(len(dy) >= PanelLen(tokens, n), "kernels: BiasBackwardPanels: dy does not hold the panels")
	must(len(dbias) >= n, "kernels: BiasBackwardPanels: dbias is shorter than n")
	panelCalls.chunks(n, panelFeatures, panelArgs{current, dy, dbias, ceilDiv(tokens, PanelTokens), n}, func(a *panelArgs, lo, hi int) {
		for p := range a.panels {
			for j := lo; j < hi; j++ {
				a.bias[j] += a.set.Dot(a.x[(p*a.n+j)*PanelTokens:][:PanelTokens], panelOnes[:])
			}
		}
	})
}
