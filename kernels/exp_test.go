package kernels

import (
	"math"
	"testing"
)

// TestExpRefError pins the error that expRef declares.
func TestExpRefError(t *testing.T) {
	const bound = 0x1p-31
	worst := 0.0
	for i := -700000; i <= 700000; i++ {
		x := float64(i)*1e-3 + 1e-4*float64(i%7)
		want := math.Exp(x)
		if e := math.Abs(expRef(x)-want) / want; !(e <= worst) {
			worst = e
		}
	}
	if !(worst < bound) {
		t.Errorf("relative error of expRef reaches %.3g, declared %.3g", worst, bound)
	}
	for _, c := range []struct{ x, want float64 }{
		{math.Inf(1), math.Inf(1)}, {math.Inf(-1), 0}, {710, math.Inf(1)}, {-800, 0}, {0, 1},
	} {
		if got := expRef(c.x); got != c.want {
			t.Errorf("expRef(%g) = %g, want %g", c.x, got, c.want)
		}
	}
	if got := expRef(math.NaN()); got == got {
		t.Errorf("expRef(NaN) = %g", got)
	}
}

func TestLogRefError(t *testing.T) {
	const bound = 0x1p-40
	for i := 1; i < 2000000; i++ {
		x := float64(i) * float64(i) * 1e-4
		want := math.Log(x)
		if e := math.Abs(logRef(x) - want); !(e <= bound+0x1p-52*math.Abs(want)) {
			t.Fatalf("logRef(%g) = %.17g, want %.17g", x, logRef(x), want)
		}
	}
	for _, x := range []float64{0, 1, 1e-300, math.MaxFloat64, math.Inf(1), -1, math.NaN()} {
		got, want := logRef(x), math.Log(x)
		if !(got == want || math.Abs(got-want) <= bound+0x1p-52*math.Abs(want) || (got != got && want != want)) {
			t.Errorf("logRef(%g) = %g, want %g", x, got, want)
		}
	}
}
