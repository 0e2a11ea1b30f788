package analysis

import "math"

// Kinds of a Chart.
const (
	ChartLines = "lines"
	ChartBars  = "bars"
	ChartHeat  = "heat"
)

// Chart is one figure of a report: drawn by the page's script, tabulated
// behind it, and written as PNG and SVG by WriteFigures. Values are finite.
type Chart struct {
	ID     string   `json:"id"` // file name of the figure
	Title  string   `json:"title"`
	Text   string   `json:"text"` // what it shows, in words
	Kind   string   `json:"kind"`
	X      string   `json:"x,omitempty"` // axis labels
	Y      string   `json:"y,omitempty"`
	LogY   bool     `json:"log_y,omitempty"` // may be drawn on a logarithmic axis
	Series []Series `json:"series,omitempty"`

	// Of bars and heat maps: a value for every row and column; bars draw one
	// group a row and one bar a column.
	Rows   []string    `json:"rows,omitempty"`
	Cols   []string    `json:"cols,omitempty"`
	Values [][]float64 `json:"values,omitempty"`
}

// Series is one line of a chart.
type Series struct {
	Name string    `json:"name"`
	X    []float64 `json:"x"`
	Y    []float64 `json:"y"`
}

// maxPoints is what a line is thinned to: more than a screen has columns.
const maxPoints = 800

// add appends a point, unless it is not finite.
func (s *Series) add(x, y float64) {
	if math.IsNaN(x-x) || math.IsNaN(y-y) {
		return
	}
	s.X, s.Y = append(s.X, x), append(s.Y, y)
}

// thin keeps every n-th point and the last.
func (s *Series) thin() {
	n := (len(s.X) + maxPoints - 1) / maxPoints
	if n < 2 {
		return
	}
	var out Series
	for i := range s.X {
		if i%n == 0 || i == len(s.X)-1 {
			out.add(s.X[i], s.Y[i])
		}
	}
	s.X, s.Y = out.X, out.Y
}

// empty reports whether there is nothing to draw.
func (c Chart) empty() bool {
	for _, s := range c.Series {
		if len(s.X) > 0 {
			return false
		}
	}
	return len(c.Values) == 0
}
