package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/masks"
)

func newMaskInspectCmd(a *app) *cobra.Command {
	var (
		picture string
		heads   int
		force   bool
	)
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show the masks of a mask file",
		Long: `Inspect prints, for every matrix, its shape (out, in), the weights kept, the
sparsity, the outputs (rows) and inputs (columns) that have no weight left, and
the start of the SHA-256 of its bits; then the sums of every block and of all.
Sparsity is pruned ÷ total of the matrices with a mask, overall sparsity is
pruned ÷ all parameters of the model.
--heads N adds the sparsity of each of N attention heads (rows of q, k and v, columns
of the projection). --png writes a picture of the densities: black is kept.`,
		Example: `  spdfctl mask inspect mask.safetensors
  spdfctl mask inspect runs/sparse --json
  spdfctl mask inspect mask.safetensors --heads 12 --png mask.png`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			set, err := readMasks(args[0])
			if err != nil {
				return err
			}
			report := newMaskReport(set)
			if heads != 0 {
				if report.Heads, err = analysis.HeadSparsities(set, heads); err != nil {
					return err
				}
			}
			if picture != "" {
				if err := formats.WriteAtomic(picture, force, func(w io.Writer) error { return analysis.WriteMaskPicture(w, set) }); err != nil {
					if errors.Is(err, fs.ErrExist) {
						return withHint(fmt.Errorf("mask inspect: %s: exists", picture), "--force replaces it")
					}
					return err
				}
			}
			if a.json {
				return a.printJSON(report)
			}
			if err := printMasks(a.stdout, set); err != nil || heads == 0 {
				return err
			}
			fmt.Fprintln(a.stdout)
			t := newTable("layer", "matrix", "head", "sparsity")
			for _, h := range report.Heads {
				t.add(strconv.Itoa(h.Layer), h.Kind, strconv.Itoa(h.Head), fmt.Sprintf("%.6f", h.Sparsity))
			}
			return t.print(a.stdout)
		},
	}
	cmd.Flags().StringVar(&picture, "png", "", "picture of the densities to write")
	cmd.Flags().IntVar(&heads, "heads", 0, "number of attention heads, to show each")
	cmd.Flags().BoolVar(&force, "force", false, "replace an existing picture")
	return cmd
}

// maskReport is the document of "mask inspect --json".
type maskReport struct {
	FormatVersion   int          `json:"format_version"`
	Sparsity        float64      `json:"sparsity"`         // requested; of all masks together if none was
	OverallSparsity *float64     `json:"overall_sparsity"` // null if the number of parameters is unknown
	Method          string       `json:"method"`
	Distribution    string       `json:"distribution"`
	Pattern         string       `json:"pattern"`
	Seed            uint64       `json:"seed"`
	Tensors         []maskTensor `json:"tensors"`
	Kept            int          `json:"kept"`
	Total           int          `json:"total"`

	Heads []analysis.HeadSparsity `json:"heads,omitempty"` // with --heads
}

// maskTensor is one mask in maskReport.
type maskTensor struct {
	Name     string  `json:"name"`
	Part     string  `json:"part"`
	Shape    [2]int  `json:"shape"`
	Kept     int     `json:"kept"`
	Total    int     `json:"total"`
	Sparsity float64 `json:"sparsity"`
	SHA256   string  `json:"sha256"`
}

func newMaskReport(set *masks.Set) maskReport {
	r := maskReport{
		FormatVersion: maskfile.FormatVersion,
		Sparsity:      set.Sparsity(),
		Method:        set.Recipe.Method,
		Distribution:  set.Recipe.Distribution,
		Pattern:       set.Recipe.Pattern,
		Seed:          set.Recipe.Seed,
		Kept:          set.Kept(),
		Total:         set.Total(),
	}
	if s, err := masks.ParseSparsity(set.Recipe.Sparsity); err == nil {
		r.Sparsity = s.Float64()
	}
	if s, ok := set.OverallSparsity(); ok {
		r.OverallSparsity = &s
	}
	for _, m := range set.Masks {
		r.Tensors = append(r.Tensors, maskTensor{m.Name, m.Part, [2]int{m.Out, m.In}, m.Kept(), m.Total(), m.Sparsity(), digest(m)})
	}
	return r
}

func digest(m *masks.Mask) string {
	sum := m.SHA256()
	return hex.EncodeToString(sum[:])
}

// printMasks prints the recipe, a table of the masks, one of the blocks, and
// the sums.
func printMasks(w io.Writer, set *masks.Set) error {
	r := set.Recipe
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range []struct{ what, value string }{
		{"method", r.Method},
		{"distribution", r.Distribution},
		{"pattern", r.Pattern},
		{"scope", r.Scope},
		{"sparsity", r.Sparsity},
		{"compat", r.Compat},
		{"generator", r.Generator},
		{"seed", seedText(r)},
		{"parent", r.Parent},
	} {
		if f.value != "" {
			fmt.Fprintf(out, "%s:\t%s\n", f.what, f.value)
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	matrices := newTable("matrix", "shape", "kept", "total", "sparsity", "dead rows", "dead cols", "sha-256")
	blocks := newTable("block", "kept", "total", "sparsity")
	var (
		block       string
		kept, total int
		sums        int
	)
	flush := func() {
		if total > 0 {
			blocks.add(block, strconv.Itoa(kept), strconv.Itoa(total), fraction(total-kept, total))
			sums++
		}
		kept, total = 0, 0
	}
	for _, m := range set.Masks {
		if b := blockOf(m.Name); b != block {
			flush()
			block = b
		}
		k := m.Kept()
		kept, total = kept+k, total+m.Total()
		matrices.add(m.Key(), fmt.Sprintf("(%d, %d)", m.Out, m.In), strconv.Itoa(k), strconv.Itoa(m.Total()),
			fraction(m.Total()-k, m.Total()), strconv.Itoa(m.DeadRows()), strconv.Itoa(m.DeadColumns()), digest(m)[:16])
	}
	flush()
	blocks.add("all", strconv.Itoa(set.Kept()), strconv.Itoa(set.Total()), fraction(set.Total()-set.Kept(), set.Total()))
	fmt.Fprintln(w)
	if err := matrices.print(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := blocks.print(w); err != nil {
		return err
	}
	if _, ok := set.OverallSparsity(); !ok {
		return nil
	}
	_, err := fmt.Fprintf(w, "\noverall sparsity: %s (%d pruned of %d parameters)\n",
		fraction(set.Total()-set.Kept(), set.Parameters), set.Total()-set.Kept(), set.Parameters)
	return err
}

// seedText returns the seed if a generator used it.
func seedText(r masks.Recipe) string {
	if r.Generator == "" {
		return ""
	}
	return strconv.FormatUint(r.Seed, 10)
}

// fraction prints part ÷ all with six decimals.
func fraction(part, all int) string {
	return strconv.FormatFloat(float64(part)/float64(all), 'f', 6, 64)
}

// blockOf returns the block of a tensor: h.3 for h.3.mlp.c_fc.weight, the name
// itself for one outside the blocks.
func blockOf(name string) string {
	parts := strings.SplitN(name, ".", 3)
	if len(parts) == 3 && parts[0] == "h" {
		return parts[0] + "." + parts[1]
	}
	return name
}

// table is text in columns; a column of numbers is set flush right.
type table struct{ rows [][]string }

// newTable returns a table with the given heads.
func newTable(heads ...string) *table {
	for i := range heads {
		heads[i] = strings.ToUpper(heads[i])
	}
	return &table{rows: [][]string{heads}}
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) error {
	for col := range t.rows[0] {
		width, numbers := 0, true
		for i, row := range t.rows {
			width = max(width, len(row[col]))
			if i > 0 && strings.Trim(row[col], "0123456789.") != "" {
				numbers = false
			}
		}
		if numbers {
			for _, row := range t.rows {
				row[col] = strings.Repeat(" ", width-len(row[col])) + row[col]
			}
		}
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range t.rows {
		fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	return out.Flush()
}
