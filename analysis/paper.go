package analysis

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// PaperCell is one number that the SPDF paper prints, beside what the ledger
// counts for it.
type PaperCell struct {
	Table    string  `json:"table"` // "supplement 2", "supplement 3", "main 2"
	Model    string  `json:"model"`
	Sparsity float64 `json:"sparsity"`
	Column   string  `json:"column"`
	Printed  string  `json:"printed"`
	Computed float64 `json:"computed"`
	Ours     string  `json:"ours"` // computed, in the digits of the print
	// Verdict is "equal", "rounded" where the print adds or divides numbers
	// that it has rounded, or "misprint".
	Verdict string `json:"verdict"`
	Note    string `json:"note,omitempty"`
}

// Tables of the paper that the ledger reproduces, in the order of PaperTables.
const (
	PaperSupplement2 = "supplement 2"
	PaperSupplement3 = "supplement 3"
	PaperMain2       = "main 2"
)

// Verdicts on a printed number.
const (
	VerdictEqual    = "equal"
	VerdictRounded  = "rounded"
	VerdictMisprint = "misprint"
)

// roundedSlack is how far a sum or product of printed, rounded numbers may lie
// from the exact one: 1.20e12 * 1.22e6 is 0.7 % below 1.4703e18.
const roundedSlack = 0.008

// paperModel is one of the paper's two models and its tokens.
type paperModel struct {
	title, preset string
	tokens        int64
}

var paperModels = []paperModel{
	{"GPT-2 Small", "spdf-gpt2-small", 2_500_000_000},
	{"GPT-3 XL", "spdf-gpt3-xl", 26_000_000_000},
}

// paperTasks are the fine-tunings of supplement, Table 3. Sequences are those
// that reproduce every printed digit: 3 epochs of 42,000 and of 18,000, 2 of
// 62,600, and 33,700. The paper rounds them to 1.26e5, 0.54e5, 1.25e5, 0.34e5.
var paperTasks = []struct {
	name string
	seqs int64
}{{"E2E", 126_000}, {"WebNLG", 54_000}, {"DART", 125_200}, {"Curation", 33_700}}

// paperFineTuneLen is the length of a fine-tuning sequence.
const paperFineTuneLen = 512

// printed holds the tables as they stand in print, rows dense, 50 %, 75 %, of
// the two models one after the other.
var (
	printedPretraining = [6][3]string{ // FLOPs per sequence, total, reduction
		{"1.99e12", "2.43e18", "1"}, {"1.47e12", "1.79e18", "0.737"}, {"1.20e12", "1.46e18", "0.601"},
		{"1.86e13", "236.10e18", "1"}, {"1.12e13", "141.87e18", "0.601"}, {"7.46e12", "94.76e18", "0.401"},
	}
	printedFineTuning = [2][4][3]string{ // FLOPs per sequence, total, exaFLOPs
		{{"1.36e11", "5.15e16", "0.052"}, {"1.36e11", "2.21e16", "0.022"}, {"1.36e11", "5.12e16", "0.051"}, {"1.36e11", "1.38e16", "0.014"}},
		{{"1.39e12", "5.27e17", "0.524"}, {"1.39e12", "2.26e17", "0.226"}, {"1.39e12", "5.24e17", "0.524"}, {"1.39e12", "1.41e17", "0.141"}},
	}
	printedTogether = [6][4][2]string{ // 1e18 FLOPs and speed-up for each task
		{{"2.48", "1.00"}, {"2.48", "1.00"}, {"2.45", "1.00"}, {"2.44", "1.00"}},
		{{"1.84", "1.34"}, {"1.82", "1.35"}, {"1.84", "1.34"}, {"1.81", "1.35"}},
		{{"1.52", "1.64"}, {"1.49", "1.65"}, {"1.52", "1.64"}, {"1.48", "1.65"}},
		{{"236.62", "1.00"}, {"236.62", "1.00"}, {"236.33", "1.00"}, {"236.32", "1.00"}},
		{{"142.40", "1.66"}, {"142.10", "1.66"}, {"142.01", "1.66"}, {"142.40", "1.66"}},
		{{"95.29", "2.48"}, {"94.98", "2.49"}, {"95.29", "2.48"}, {"94.90", "2.49"}},
	}
)

// misprints says what is wrong with a cell, by table, model, sparsity, column.
var misprints = map[string]string{
	"supplement 3/GPT-2 Small/0/*/forward": "the caption says forward and backward; the number is the forward pass alone",
	"supplement 3/GPT-3 XL/0/*/forward":    "the caption says forward and backward; the number is the forward pass alone",
	"supplement 3/GPT-3 XL/0/E2E/exa":      "0.524 is DART's value; the total of the same row, 5.27e17, is 0.527",
	"main 2/GPT-2 Small/0/WebNLG":          "WebNLG and DART are exchanged in the dense row",
	"main 2/GPT-2 Small/0/DART":            "WebNLG and DART are exchanged in the dense row",
	"main 2/GPT-3 XL/0/WebNLG":             "WebNLG and DART are exchanged in the dense row",
	"main 2/GPT-3 XL/0/DART":               "WebNLG and DART are exchanged in the dense row",
	"main 2/GPT-3 XL/0/Curation":           "the printed 236.10 and 0.141 add up to 236.24",
	"main 2/GPT-3 XL/0.5/DART":             "DART and Curation are exchanged in the 50 % row",
	"main 2/GPT-3 XL/0.5/Curation":         "DART and Curation are exchanged in the 50 % row",
}

// roundings explains a difference better than the general note, by the same keys.
var roundings = map[string]string{
	"supplement 2/GPT-2 Small/0.75/total":     "1.20e12 times 1.22e6, both rounded",
	"supplement 2/GPT-2 Small/0.75/reduction": "1.46 over 2.43, both rounded",
	"supplement 2/GPT-3 XL/0/total":           "the paper states no vocabulary; 50277 instead of 50257 tokens give 236.10",
}

// PaperTables counts, under convention SPDF, every FLOP number of the paper's
// Table 2 and of its supplement's Tables 2 and 3, and judges the print by it.
//
// Source: Thangarasa et al., "SPDF", UAI 2023, and its supplement.
func PaperTables() ([]PaperCell, error) {
	var pre, fine, both []PaperCell
	for m, model := range paperModels {
		c, _ := gpt.Preset(model.preset)
		var tunes []FineTune
		for _, task := range paperTasks {
			tunes = append(tunes, FineTune{task.seqs, paperFineTuneLen})
		}
		var scenarios []Scenario
		for _, text := range []string{"0", "0.5", "0.75"} {
			s, err := masks.ParseSparsity(text)
			if err != nil {
				return nil, err
			}
			scenarios = append(scenarios, Scenario{s.Float64(), UniformKept(s)})
		}
		r, err := NewFLOPReport(c, SPDF, c.NCtx, model.tokens, scenarios, tunes)
		if err != nil {
			return nil, err
		}
		for i, result := range r.Results {
			cell := func(table, column, printed string, computed float64) PaperCell {
				return judge(PaperCell{Table: table, Model: model.title, Sparsity: result.Sparsity, Column: column, Printed: printed, Computed: computed})
			}
			p := printedPretraining[3*m+i]
			pre = append(pre,
				cell(PaperSupplement2, "FLOPs/seq", p[0], float(result.FLOPsPerSequence)),
				cell(PaperSupplement2, "total", p[1], float(result.FLOPsTotal)),
				cell(PaperSupplement2, "reduction", p[2], result.Reduction))
			for j, f := range result.FineTuning {
				name := paperTasks[j].name
				if i == 0 {
					p := printedFineTuning[m][j]
					fine = append(fine,
						cell(PaperSupplement3, name+"/forward", p[0], float(f.ForwardPerSequence)),
						cell(PaperSupplement3, name+"/total", p[1], float(f.FLOPsTotal)),
						cell(PaperSupplement3, name+"/exa", p[2], float(f.FLOPsTotal)/1e18))
				}
				q := printedTogether[3*m+i][j]
				both = append(both,
					cell(PaperMain2, name, q[0], float(f.WithPretraining)/1e18),
					cell(PaperMain2, name+"/speed-up", q[1], f.Speedup))
			}
		}
	}
	return append(append(pre, fine...), both...), nil
}

func float(x *big.Int) float64 {
	f, _ := new(big.Float).SetInt(x).Float64()
	return f
}

// judge writes the computed number like the print and compares the two.
func judge(c PaperCell) PaperCell {
	c.Ours = likePrint(c.Computed, c.Printed)
	var printed float64
	fmt.Sscan(c.Printed, &printed)
	key := fmt.Sprintf("%s/%s/%g/", c.Table, c.Model, c.Sparsity)
	note, wrong := misprints[key+c.Column]
	if _, quantity, ok := strings.Cut(c.Column, "/"); ok && !wrong {
		note, wrong = misprints[key+"*/"+quantity]
	}
	off := c.Computed/printed - 1
	switch {
	case wrong:
		c.Verdict, c.Note = VerdictMisprint, note
	case c.Ours == c.Printed:
		c.Verdict = VerdictEqual
	case off > -roundedSlack && off < 1.5*roundedSlack:
		c.Verdict, c.Note = VerdictRounded, "the print adds, multiplies or divides numbers that it has rounded"
		if special, ok := roundings[key+c.Column]; ok {
			c.Note = special
		}
	default:
		c.Verdict, c.Note = VerdictMisprint, "differs by more than rounding explains"
	}
	return c
}

// likePrint formats x with the exponent and the decimals of printed.
func likePrint(x float64, printed string) string {
	mantissa, exp, ok := strings.Cut(printed, "e")
	if ok {
		var e float64
		fmt.Sscan("1e"+exp, &e)
		x /= e
	}
	decimals := 0
	if _, after, ok := strings.Cut(mantissa, "."); ok {
		decimals = len(after)
	}
	text := fmt.Sprintf("%.*f", decimals, x)
	if ok {
		text += "e" + exp
	}
	return text
}
