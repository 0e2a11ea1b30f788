package analysis_test

import (
	"bytes"
	"image/png"
	"testing"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/masks"
)

func TestMaskPicture(t *testing.T) {
	m := masks.New("w", "", 4, 6)
	for j := range 3 {
		m.Put(0, j, true)
		m.Put(1, j, true)
	}
	m.Put(3, 5, true)
	grid := analysis.MaskDensity(m, 2)
	for r, want := range [][]float64{{1, 0}, {0, 1.0 / 6}} {
		for c, d := range want {
			if grid[r][c] != d {
				t.Errorf("density (%d, %d) is %g, want %g", r, c, grid[r][c], d)
			}
		}
	}
	set, err := masks.NewSet([]*masks.Mask{m}, masks.Recipe{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := analysis.WriteMaskPicture(&b, set); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	size := img.Bounds().Size()
	dark := func(x, y float64) bool {
		r, _, _, _ := img.At(int(x*float64(size.X)), int(y*float64(size.Y))).RGBA()
		return r < 0x4000
	}
	if !dark(0.25, 0.35) || dark(0.75, 0.35) || dark(0.25, 0.8) {
		t.Errorf("the kept corner is dark: %v, the others %v %v", dark(0.25, 0.35), dark(0.75, 0.35), dark(0.25, 0.8))
	}
}
