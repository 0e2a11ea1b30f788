package analysis

import (
	"fmt"
	"image"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/spdfctl/spdfctl/masks"
)

// Bounds of the picture of masks.
const (
	pictureCells  = 96  // of a matrix, in each direction
	pictureColumn = 6   // matrices side by side: those of a block
	pictureTile   = 130 // points
	maxPictures   = 600
)

// MaskDensity returns the density of m on a grid of at most cells rows and columns:
// cell (r, c) is the kept part of its share of the weights.
func MaskDensity(m *masks.Mask, cells int) [][]float64 {
	rows, cols := min(m.Out, cells), min(m.In, cells)
	kept := make([][]float64, rows)
	for r := range kept {
		kept[r] = make([]float64, cols)
		for i := r * m.Out / rows; i < (r+1)*m.Out/rows; i++ {
			for c := range kept[r] {
				for j := c * m.In / cols; j < (c+1)*m.In/cols; j++ {
					if m.Keep(i, j) {
						kept[r][c]++
					}
				}
			}
		}
		for c := range kept[r] {
			kept[r][c] /= float64(((r+1)*m.Out/rows - r*m.Out/rows) * ((c+1)*m.In/cols - c*m.In/cols))
		}
	}
	return kept
}

// WriteMaskPicture writes a PNG of the masks, six side by side: black where all
// weights are kept, white where none is, outputs from top to bottom, inputs from left to
// right. It returns an error for more than 600 masks.
func WriteMaskPicture(w io.Writer, set *masks.Set) error {
	if len(set.Masks) > maxPictures {
		return fmt.Errorf("analysis: %d masks are too many for a picture, limit %d", len(set.Masks), maxPictures)
	}
	across := min(pictureColumn, len(set.Masks))
	down := (len(set.Masks) + across - 1) / across
	canvas := vgimg.New(vg.Length(across*pictureTile), vg.Length(down*pictureTile))
	tiles := draw.Tiles{Rows: down, Cols: across, PadX: 6, PadY: 6, PadTop: 4, PadBottom: 4, PadLeft: 4, PadRight: 4}
	whole := draw.New(canvas)
	for k, m := range set.Masks {
		p := plot.New()
		p.Title.Text = fmt.Sprintf("%s  %.3f", m.Key(), m.Sparsity())
		p.Title.TextStyle.Font.Size = 5
		p.HideAxes()
		grid := MaskDensity(m, pictureCells)
		img := image.NewGray(image.Rect(0, 0, len(grid[0]), len(grid)))
		for r, line := range grid {
			for c, d := range line {
				img.SetGray(c, r, color.Gray{Y: uint8(math.Round(255 * (1 - d)))})
			}
		}
		p.Add(plotter.NewImage(img, 0, 0, float64(len(grid[0])), float64(len(grid))))
		p.Draw(tiles.At(whole, k%across, k/across))
	}
	_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
	return err
}
