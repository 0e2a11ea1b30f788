package analysis_test

import (
	"bytes"
	"encoding/json"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// samplePage is a report of a dense and a sparse run with everything in it.
func samplePage(t testing.TB) analysis.Page {
	t.Helper()
	set, err := masks.Random(gpt.MaskTargets(tiny), mustSparsity(t, "0.5"), 1)
	if err != nil {
		t.Fatal(err)
	}
	a, err := gpt.New(tiny, nil)
	if err != nil {
		t.Fatal(err)
	}
	a.Init(1)
	drift, err := analysis.Drift(a, a, set, false)
	if err != nil {
		t.Fatal(err)
	}
	var metrics []analysis.RunMetrics
	for i := range 5000 {
		m := analysis.RunMetrics{Step: i + 1, Tokens: int64(8 * (i + 1)), Loss: 5 / float64(i+1), LR: 1e-3, GradNorm: 1, TokensPerSecond: 100, FLOPs: float64(i) * 1e6}
		if i == 7 {
			m.Loss = math.NaN() // never drawn
		}
		metrics = append(metrics, m)
	}
	v, low, high := 2.5, 38.0, 43.0
	metrics[4999].ValLoss = &v
	c := tiny
	return analysis.Page{
		Title: "a & b <c>",
		Runs: []analysis.RunReport{
			{Name: "dense", Metrics: metrics, Model: &c},
			{Name: "sparse", Metrics: metrics, Model: &c, Masks: set, Drift: drift, From: "dense", Config: "seed: 1\n",
				Samples: []analysis.Sample{{Prompt: "name", Text: "</script><script>alert(1)</script>", Reference: "ref"}},
				Scores:  []analysis.ScoreValue{{Name: "bleu", Value: 40.5, Low: &low, High: &high}, {Name: "chrf", Value: 50}}},
			{Name: "just started"},
		},
		Environment: []analysis.Fact{{Name: "go", Value: "1.26"}},
	}
}

func mustSparsity(t testing.TB, text string) masks.Sparsity {
	t.Helper()
	s, err := masks.ParseSparsity(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPageIsSelfContained(t *testing.T) {
	p := samplePage(t)
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	html := b.String()
	for _, want := range []string{
		"<title>a &amp; b &lt;c&gt;</title>", "default-src &#39;none&#39;", "<td>40.5 [38, 43]</td>", "<td>50</td>",
		"&lt;/script&gt;&lt;script&gt;alert(1)", "seed: 1", "38 to 43", "prefers-color-scheme:dark", "@media print",
	} {
		if !strings.Contains(html, want) && !strings.Contains(html, strings.ReplaceAll(want, "&#39;", "'")) {
			t.Errorf("the page lacks %q", want)
		}
	}
	// Nothing is fetched: no address but the name space of SVG and the empty icon.
	for _, m := range regexp.MustCompile(`(?i)(https?:)?//[a-z0-9]+\.[a-z.]+[^"' ]*|\b(src|@import|fetch|XMLHttpRequest)\b *[=(]`).FindAllString(html, -1) {
		if m != "http://www.w3.org/2000/svg" {
			t.Errorf("the page names %q", m)
		}
	}
	if n := strings.Count(html, "<script"); n != 1 {
		t.Errorf("%d scripts, want 1", n)
	}
	if strings.Contains(html, "http-equiv=\"refresh\"") {
		t.Error("a written page loads itself again")
	}
	p.Refresh = 5
	b.Reset()
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `http-equiv="refresh" content="5"`) {
		t.Error("a watched page does not load itself again")
	}
}

func TestCharts(t *testing.T) {
	charts, err := samplePage(t).Charts()
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]analysis.Chart{}
	for _, c := range charts {
		ids[c.ID] = c
		if c.Text == "" || c.Title == "" {
			t.Errorf("%s: no title or no text", c.ID)
		}
	}
	for _, id := range []string{"loss-tokens", "loss-flops", "validation", "lr", "grad-norm", "speed", "run2-flops", "run2-flops-blocks", "run2-sparsity", "run2-mask", "run2-drift", "run2-revived"} {
		if _, ok := ids[id]; !ok {
			t.Errorf("no chart %s", id)
		}
	}
	if len(ids) != 12 {
		t.Errorf("%d charts, want 12", len(ids))
	}
	loss := ids["loss-tokens"]
	if len(loss.Series) != 2 || len(loss.Series[0].X) > 801 || loss.Series[0].X[len(loss.Series[0].X)-1] != 40000 {
		t.Errorf("loss: %d lines, %d points, the last at %g", len(loss.Series), len(loss.Series[0].X), loss.Series[0].X[len(loss.Series[0].X)-1])
	}
	if v := ids["run2-flops"].Values[0]; v[1] != v[0]/2 {
		t.Errorf("FLOPs of q: %g of %g, want half", v[1], v[0])
	}
	if v := ids["run2-sparsity"]; len(v.Rows) != 6 || v.Values[5][1] != 0.5 {
		t.Errorf("sparsity: %v %v", v.Rows, v.Values)
	}
	if _, err := json.Marshal(charts); err != nil {
		t.Errorf("a chart holds a value that JSON has not: %v", err)
	}
}

func TestWriteFigures(t *testing.T) {
	charts, err := samplePage(t).Charts()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// One of each kind.
	paths, err := analysis.WriteFigures(dir, []analysis.Chart{charts[0], charts[6], charts[8]}, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) != 6 {
		t.Fatalf("%q", paths)
	}
	f, err := os.Open(filepath.Join(dir, "loss-tokens.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if img, err := png.Decode(f); err != nil || img.Bounds().Dx() < 500 {
		t.Errorf("loss-tokens.png: %v", err)
	}
	if svg, err := os.ReadFile(filepath.Join(dir, charts[6].ID+".svg")); err != nil || !bytes.Contains(svg, []byte("<svg")) {
		t.Errorf("%s.svg: %v", charts[6].ID, err)
	}
	if _, err := analysis.WriteFigures(dir, charts[:1], false); err == nil {
		t.Error("an existing figure was replaced without force")
	}
}

func TestReadMetrics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	for _, tc := range []struct {
		text string
		n    int
		want string
	}{
		{"{\"step\":1,\"tokens\":8,\"loss\":2.5}\n{\"step\":2,\"to", 1, ""},
		{"", 0, ""},
		{"{}\nnot json\n", 0, "line 2"},
		{strings.Repeat("x", 1<<17) + "\n", 0, "longer than 65536 bytes"},
	} {
		if err := os.WriteFile(path, []byte(tc.text), 0o666); err != nil {
			t.Fatal(err)
		}
		m, err := analysis.ReadMetrics(path)
		if tc.want == "" && (err != nil || len(m) != tc.n) || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%.40q: %d lines, %v, want %d, %q", tc.text, len(m), err, tc.n, tc.want)
		}
	}
}

// FuzzMetrics draws whatever a metrics file, a score and a sample file say.
func FuzzMetrics(f *testing.F) {
	f.Add([]byte("{\"step\":1,\"tokens\":8,\"loss\":2.5,\"val_loss\":1e308}\n{\"step\":-1,\"flops\":1e-300}\n"))
	f.Add([]byte(`{"metrics":{"bleu":1},"bootstrap":{"intervals":{"bleu":{"low":0,"high":2}}}}`))
	f.Add([]byte("{\"prompt\":\"<b>\",\"text\":\"&\"}\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "x")
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		r := analysis.RunReport{Name: "x"}
		r.Metrics, _ = analysis.ReadMetrics(path)
		r.Scores, _ = analysis.ReadScores(path)
		r.Samples, _ = analysis.ReadSamples(path)
		if err := (analysis.Page{Runs: []analysis.RunReport{r}}).Write(&bytes.Buffer{}); err != nil {
			t.Error(err)
		}
	})
}

// Text has a contrast of 4.5 and lines of 3 with what they stand on, in light
// and in dark mode: WCAG 2.2, 1.4.3 and 1.4.11.
func TestContrast(t *testing.T) {
	css, err := os.ReadFile("report.css")
	if err != nil {
		t.Fatal(err)
	}
	modes := regexp.MustCompile(`:root\{--bg[^}]*\}`).FindAllString(string(css), -1)
	if len(modes) != 2 {
		t.Fatalf("%d sets of colours, want light and dark", len(modes))
	}
	for i, mode := range modes {
		colors := map[string]float64{}
		for _, m := range regexp.MustCompile(`--(\w+):#([0-9a-f]{6})`).FindAllStringSubmatch(mode, -1) {
			n, err := strconv.ParseUint(m[2], 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			colors[m[1]] = luminance(n)
		}
		for name, least := range map[string]float64{"fg": 4.5, "muted": 4.5, "link": 4.5, "s0": 3, "s1": 3, "s2": 3, "s3": 3, "s4": 3, "s5": 3} {
			for _, on := range []string{"bg", "card"} {
				a, b := colors[name], colors[on]
				if c := (max(a, b) + 0.05) / (min(a, b) + 0.05); c < least {
					t.Errorf("mode %d: %s on %s has a contrast of %.2f, want %.1f", i, name, on, c, least)
				}
			}
		}
	}
}

func luminance(rgb uint64) float64 {
	var sum float64
	for i, weight := range []float64{0.0722, 0.7152, 0.2126} {
		c := float64(rgb>>(8*i)&255) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}
