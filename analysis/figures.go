package analysis

import (
	"fmt"
	"image/color"
	"io"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/palette"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"github.com/spdfctl/spdfctl/formats"
)

// Size of a figure.
const (
	figureWidth  = 18 * vg.Centimeter
	figureHeight = 10 * vg.Centimeter
)

// WriteFigures writes every chart into dir as PNG and as SVG, named by its ID.
// It returns the paths written. With force existing files are replaced.
func WriteFigures(dir string, charts []Chart, force bool) ([]string, error) {
	var paths []string
	for _, c := range charts {
		for _, form := range []string{"png", "svg"} {
			// A plot is drawn once: its legend moves when it is drawn again.
			p, err := c.plot()
			if err != nil {
				return paths, fmt.Errorf("analysis: figure %s: %w", c.ID, err)
			}
			w, err := p.WriterTo(figureWidth, figureHeight, form)
			if err != nil {
				return paths, fmt.Errorf("analysis: figure %s: %w", c.ID, err)
			}
			path := filepath.Join(dir, c.ID+"."+form)
			err = formats.WriteAtomic(path, force, func(out io.Writer) error {
				_, err := w.WriteTo(out)
				return err
			})
			if err != nil {
				return paths, err
			}
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// plot draws the chart with gonum/plot.
func (c Chart) plot() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Title, c.X, c.Y
	p.BackgroundColor = color.White
	switch c.Kind {
	case ChartLines:
		p.Legend.Top = true
		for i, s := range c.Series {
			points := make(plotter.XYs, len(s.X))
			for k := range s.X {
				points[k] = plotter.XY{X: s.X[k], Y: s.Y[k]}
			}
			line, err := plotter.NewLine(points)
			if err != nil {
				return nil, err
			}
			line.Color, line.Dashes, line.Width = plotutil.Color(i), plotutil.Dashes(i), vg.Points(1.5)
			p.Add(line)
			p.Legend.Add(s.Name, line)
		}
		p.Add(plotter.NewGrid())
	case ChartBars:
		p.Legend.Top = true
		width := vg.Points(280 / float64(len(c.Rows)*(len(c.Cols)+1)))
		for i, name := range c.Cols {
			values := make(plotter.Values, len(c.Rows))
			for k := range c.Rows {
				values[k] = c.Values[k][i]
			}
			b, err := plotter.NewBarChart(values, width)
			if err != nil {
				return nil, err
			}
			b.Color, b.LineStyle.Width = plotutil.Color(i), 0
			b.Offset = width * vg.Length(float64(i)-float64(len(c.Cols)-1)/2)
			p.Add(b)
			p.Legend.Add(name, b)
		}
		p.NominalX(c.Rows...)
	case ChartHeat:
		h := plotter.NewHeatMap(grid{c}, palette.Heat(64, 1))
		p.X.Label.Text = fmt.Sprintf("%s (%.4g dark to %.4g light)", c.X, h.Min, h.Max)
		if h.Min == h.Max {
			p.X.Label.Text = fmt.Sprintf("%s (%.4g everywhere)", c.X, h.Min)
			h.Max = h.Min + 1
		}
		p.Add(h)
		p.X.Tick.Marker, p.Y.Tick.Marker = labels(c.Cols), labels(flip(c.Rows))
	}
	return p, nil
}

// grid shows the values of a heat map to the plotter, first row on top.
type grid struct{ c Chart }

func (g grid) Dims() (c, r int)   { return len(g.c.Cols), len(g.c.Rows) }
func (g grid) Z(c, r int) float64 { return g.c.Values[len(g.c.Rows)-1-r][c] }
func (g grid) X(c int) float64    { return float64(c) }
func (g grid) Y(r int) float64    { return float64(r) }

// labels are the ticks of an axis of names, at most maxLabels of them.
type labels []string

const maxLabels = 12

// Ticks names the places 0, 1, 2, …
func (l labels) Ticks(float64, float64) []plot.Tick {
	step := (len(l) + maxLabels - 1) / maxLabels
	var out []plot.Tick
	for i := 0; i < len(l); i += step {
		out = append(out, plot.Tick{Value: float64(i), Label: l[i]})
	}
	return out
}

func flip(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[len(list)-1-i] = s
	}
	return out
}
