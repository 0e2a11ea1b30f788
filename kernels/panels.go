package kernels

// Panels: activations (tokens, n) as panels behind each other, each (n, width).
// The width is PanelTokens, of the last panel the narrowest of PanelWidths that
// holds its tokens; what is left of it is filled up. The sparse products work on
// panels; what lies so between two of them need not be packed.

// PanelLen returns the length of activations (tokens, n) in panels.
func PanelLen(tokens, n int) int {
	rest := tokens % PanelTokens
	if rest > 0 {
		rest = PanelWidths[widthFor(rest)]
	}
	return (tokens/PanelTokens*PanelTokens + rest) * n
}

// widthFor returns the number in PanelWidths of a panel of some tokens.
func widthFor(tokens int) int {
	i := 0
	for i < len(PanelWidths)-1 && PanelWidths[i] < tokens {
		i++
	}
	return i
}

// panel is one panel of activations: count tokens from t0 on.
type panel struct {
	t0, count, width int
	kind             int // width is PanelWidths[kind]
}

// panelOf returns panel p of some tokens.
func panelOf(tokens, p int) panel {
	t0 := p * PanelTokens
	count := min(PanelTokens, tokens-t0)
	kind := widthFor(count)
	return panel{t0, count, PanelWidths[kind], kind}
}

// of returns the panel out of activations of n features.
func (p panel) of(x []float32, n int) []float32 { return x[p.t0*n:][:p.width*n] }

// PackPanels writes x (tokens, n) in panels, with zeros in the padding:
//
//	dst[t0*n + j*width + t-t0] = x[t,j], t0 the first token of the panel
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
		p, c0 := panelOf(a.tokens, i/across), i%across*packColumns
		pack(a.set, a.dst[p.t0*a.n+c0*p.width:], p.width, matrix{a.x, a.ldx, false}, p.t0, p.count, c0, min(packColumns, a.n-c0))
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
	tokens, n int
}

var panelCalls calls[panelArgs]

// panelOnes is what a number per feature is multiplied by.
var panelOnes = func() (p [PanelTokens]float32) {
	for i := range p {
		p[i] = 1
	}
	return p
}()

// feature returns feature i of all panels, one panel's behind the other's.
func (a *panelArgs) feature(i int) []float32 {
	p := panelOf(a.tokens, i/a.n)
	return a.x[p.t0*a.n+i%a.n*p.width:][:p.width]
}

// panelFeatures is the number of features that one task handles.
const panelFeatures = elementChunk / PanelTokens

// BiasBackwardPanels adds the sums over the tokens of dy (tokens, n), in panels
// with zeros in the padding, to dbias (n):
//
//	dbias[j] += sum over t of dy[t,j]
//
// Panels are summed apart and added in order. It panics if a slice is too short.
func BiasBackwardPanels(dbias, dy []float32, tokens, n int) {
	must(len(dy) >= PanelLen(tokens, n), "kernels: BiasBackwardPanels: dy does not hold the panels")
	must(len(dbias) >= n, "kernels: BiasBackwardPanels: dbias is shorter than n")
	panelCalls.chunks(n, panelFeatures, panelArgs{current, dy, dbias, tokens, n}, func(a *panelArgs, lo, hi int) {
		for i := 0; i < ceilDiv(a.tokens, PanelTokens)*a.n; i += a.n {
			for j := lo; j < hi; j++ {
				dy := a.feature(i + j)
				a.bias[j] += a.set.Dot(dy, panelOnes[:len(dy)])
			}
		}
	})
}
