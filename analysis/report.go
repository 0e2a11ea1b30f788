package analysis

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math/big"
	"os"

	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// RunReport is what a report knows of one run. Everything but the name may be
// missing.
type RunReport struct {
	Name    string
	Metrics []RunMetrics
	Model   *gpt.Config // of its newest checkpoint
	Masks   *masks.Set  // of its newest checkpoint
	SeqLen  int         // 0: the model's context
	Drift   *DriftReport
	From    string // what Drift starts from
	Samples []Sample
	Scores  []ScoreValue
	Config  string // config.yaml
}

// RunMetrics is a line of metrics.jsonl, as far as a report shows it.
type RunMetrics struct {
	Step            int      `json:"step"`
	Tokens          int64    `json:"tokens"`
	Loss            float64  `json:"loss"`
	LR              float64  `json:"lr"`
	GradNorm        float64  `json:"grad_norm"`
	TokensPerSecond float64  `json:"tokens_per_second"`
	FLOPs           float64  `json:"flops"`
	Seconds         float64  `json:"seconds"`
	ValLoss         *float64 `json:"val_loss"`
}

// Sample is a text that the model of a run wrote.
type Sample struct {
	Prompt    string `json:"prompt"`
	Text      string `json:"text"`
	Reference string `json:"reference"`
}

// ScoreValue is a score with its 95 % confidence interval, if there is one.
type ScoreValue struct {
	Name      string
	Value     float64
	Low, High *float64
}

// Fact is a line of the environment table.
type Fact struct{ Name, Value string }

// Bounds on what a report reads.
const (
	maxMetricsLine  = 1 << 16
	maxMetricsLines = 4 << 20
	maxSmallFile    = 16 << 20
	maxSamples      = 8
)

// ReadMetrics reads metrics.jsonl. A last line that is still being written is
// left out.
func ReadMetrics(path string) ([]RunMetrics, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("analysis: %w", err)
	}
	defer f.Close()
	return parseMetrics(f, path)
}

func parseMetrics(r io.Reader, name string) ([]RunMetrics, error) {
	var out []RunMetrics
	lines := bufio.NewReaderSize(r, maxMetricsLine)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
			return nil, fmt.Errorf("analysis: %s: line %d is longer than %d bytes, the limit", name, n, maxMetricsLine)
		case err == io.EOF:
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("analysis: %s: %w", name, err)
		}
		var m RunMetrics
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, fmt.Errorf("analysis: %s: line %d: %w", name, n, err)
		}
		if len(out) == maxMetricsLines {
			return nil, fmt.Errorf("analysis: %s: more than %d lines, the limit", name, maxMetricsLines)
		}
		out = append(out, m)
	}
}

// readSmall reads a whole file of bounded size.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSmallFile+1))
	if err == nil && len(data) > maxSmallFile {
		err = fmt.Errorf("%s: more than %d bytes, the limit", path, maxSmallFile)
	}
	return data, err
}

// ReadScores reads what "score --json" or "eval nlg --json" printed: metrics by
// name, and intervals where they were bootstrapped.
func ReadScores(path string) ([]ScoreValue, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, fmt.Errorf("analysis: scores: %w", err)
	}
	var f struct {
		Metrics   map[string]float64 `json:"metrics"`
		Bootstrap struct {
			Intervals map[string]struct {
				Low  float64 `json:"low"`
				High float64 `json:"high"`
			} `json:"intervals"`
		} `json:"bootstrap"`
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("analysis: scores: %s: %w", path, err)
	}
	var out []ScoreValue
	for _, name := range sortedKeys(f.Metrics) {
		s := ScoreValue{Name: name, Value: f.Metrics[name]}
		if i, ok := f.Bootstrap.Intervals[name]; ok {
			s.Low, s.High = &i.Low, &i.High
		}
		out = append(out, s)
	}
	return out, nil
}

// ReadSamples reads the first samples of a JSON Lines file of Sample.
func ReadSamples(path string) ([]Sample, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, fmt.Errorf("analysis: samples: %w", err)
	}
	var out []Sample
	for line := range bytes.Lines(data) {
		if len(out) == maxSamples || len(bytes.TrimSpace(line)) == 0 {
			break
		}
		var s Sample
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("analysis: samples: %s: line %d: %w", path, len(out)+1, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// Page is a report of several runs.
type Page struct {
	Title       string
	Runs        []RunReport
	Environment []Fact
	Refresh     int // seconds after which the page loads itself again; 0: never
}

//go:embed report.html
var pageText string

//go:embed report.js
var pageScript string

//go:embed report.css
var pageStyle string

// Write writes the page as one HTML file that needs nothing else: style, script
// and data are inside, and its policy forbids every request.
func (p Page) Write(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"num":   func(x float64) string { return fmt.Sprintf("%.5g", x) },
		"every": everyNth,
	}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("analysis: report: %w", err)
	}
	charts, err := p.Charts()
	if err != nil {
		return err
	}
	head, err := p.headline()
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{
		"Page": p, "Charts": charts, "Headline": head,
		"Style": template.CSS(pageStyle), "Script": template.JS(pageScript),
	})
}

// tableRows is how many points of a line stand in the table behind it.
const tableRows = 40

// everyNth returns the indices of the points that a table shows, the last
// always among them.
func everyNth(s Series) []int {
	step := max(1, (len(s.X)+tableRows-1)/tableRows)
	var out []int
	for i := 0; i < len(s.X); i += step {
		out = append(out, i)
	}
	if last := len(s.X) - 1; last >= 0 && out[len(out)-1] != last {
		out = append(out, last)
	}
	return out
}

// headline is the first table: a column for every run.
func (p Page) headline() ([][]string, error) {
	rows := [][]string{{""}, {"parameters"}, {"kept"}, {"overall sparsity"}, {"steps"}, {"tokens"}, {"training FLOPs"}, {"dense FLOPs of the same tokens"},
		{"seconds"}, {"tokens per second, median"}, {"last loss"}, {"validation loss"}}
	names := map[string]bool{}
	var order []string
	for _, r := range p.Runs {
		for _, s := range r.Scores {
			if !names[s.Name] {
				names[s.Name] = true
				order = append(order, s.Name)
			}
		}
	}
	for _, name := range order {
		rows = append(rows, []string{name})
	}
	for _, r := range p.Runs {
		cells := make([]string, len(rows))
		for i := range cells {
			cells[i] = "–"
		}
		cells[0] = r.Name
		if r.Model != nil {
			total := r.Model.Params().Total()
			kept := total
			if r.Masks != nil {
				kept -= int64(r.Masks.Total() - r.Masks.Kept())
			}
			cells[1], cells[2] = fmt.Sprint(total), fmt.Sprint(kept)
			cells[3] = fmt.Sprintf("%.3f", float64(total-kept)/float64(total))
		}
		if n := len(r.Metrics); n > 0 {
			m := r.Metrics[n-1]
			cells[4], cells[5], cells[6] = fmt.Sprint(m.Step), fmt.Sprint(m.Tokens), fmt.Sprintf("%.4g", m.FLOPs)
			if m.Seconds > 0 {
				cells[8] = fmt.Sprintf("%.1f", m.Seconds)
			}
			cells[9] = fmt.Sprintf("%.0f", medianRate(r.Metrics))
			cells[10] = fmt.Sprintf("%.4f", m.Loss)
			for _, m := range r.Metrics {
				if m.ValLoss != nil {
					cells[11] = fmt.Sprintf("%.4f", *m.ValLoss)
				}
			}
			layers, err := r.layers()
			if err != nil {
				return nil, err
			}
			if layers != nil {
				f := m.FLOPs * flopSum(layers.dense) / flopSum(layers.own)
				cells[7] = fmt.Sprintf("%.4g", f)
			}
		}
		for _, s := range r.Scores {
			for i, name := range order {
				if name == s.Name {
					cells[12+i] = fmt.Sprintf("%.4g", s.Value)
					if s.Low != nil {
						cells[12+i] += fmt.Sprintf(" [%.4g, %.4g]", *s.Low, *s.High)
					}
				}
			}
		}
		for i := range rows {
			rows[i] = append(rows[i], cells[i])
		}
	}
	return rows, nil
}

func flopSum(rows []Layer) float64 {
	f, _ := new(big.Float).SetInt(sum(rows)).Float64()
	return f
}
