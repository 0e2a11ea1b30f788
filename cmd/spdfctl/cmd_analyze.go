package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

func newAnalyzeCmd(a *app) *cobra.Command {
	return group(a, "analyze", "Compare checkpoints and masks", newAnalyzeDriftCmd(a), newAnalyzeOverlapCmd(a), newAnalyzeHeadsCmd(a))
}

func newAnalyzeDriftCmd(a *app) *cobra.Command {
	var (
		mask     string
		spectrum bool
	)
	cmd := &cobra.Command{
		Use:   "drift A B",
		Short: "How far every matrix moved between two checkpoints",
		Long: `Drift prints the cosine distance, 1 - cos, between the matrices of two
checkpoints, per module and block, as the SPDF paper's Figures 3 and 4 do
between a pre-trained model A and its fine-tuned form B.

Where A has masks (or --mask names some) it also prints where the revived
weights went: their size after fine-tuning beside that of the kept ones.
--spectrum adds the rank of every change, from its singular values.`,
		Example: `  spdfctl analyze drift runs/sparse runs/sparse-e2e
  spdfctl analyze drift runs/dense runs/dense-e2e --spectrum --json`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error { return a.analyzeDrift(args[0], args[1], mask, spectrum) },
	}
	cmd.Flags().StringVar(&mask, "mask", "", "mask file of A (default: the masks beside its weights)")
	cmd.Flags().BoolVar(&spectrum, "spectrum", false, "singular values of every change")
	return cmd
}

// driftBetween loads two checkpoints and compares them.
func driftBetween(from, to, mask string, spectrum bool) (*analysis.DriftReport, error) {
	before, err := gpt.LoadWithMasks(from, nil)
	if err != nil {
		return nil, err
	}
	after, err := gpt.LoadWithMasks(to, nil)
	if err != nil {
		return nil, err
	}
	var set *masks.Set
	if mask == "" {
		mask = ownMasks(from)
	}
	if mask != "" {
		if set, err = maskfile.Read(mask); err != nil {
			return nil, err
		}
	}
	return analysis.Drift(before, after, set, spectrum)
}

func (a *app) analyzeDrift(from, to, mask string, spectrum bool) error {
	r, err := driftBetween(from, to, mask, spectrum)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(r)
	}
	lines := [][]string{{"cosine distance"}}
	for i := range r.NLayer {
		lines[0] = append(lines[0], fmt.Sprintf("h.%d", i))
	}
	lines[0] = append(lines[0], "mean")
	for _, m := range r.Modules {
		line := []string{m.Kind}
		for _, x := range r.Matrices {
			if x.Kind == m.Kind {
				line = append(line, fmt.Sprintf("%.5f", x.Distance))
			}
		}
		lines = append(lines, append(line, fmt.Sprintf("%.5f", m.Mean)))
	}
	if err := printColumns(a.stdout, lines); err != nil {
		return err
	}
	if spectrum {
		lines = [][]string{{"change", "|change|/|before|", "stable rank", "effective rank", "values for 90 %", "of"}}
		for _, x := range r.Matrices {
			lines = append(lines, []string{x.Name, fmt.Sprintf("%.4f", x.Relative), fmt.Sprintf("%.1f", x.Spectrum.StableRank),
				fmt.Sprintf("%.1f", x.Spectrum.EffectiveRank), fmt.Sprint(x.Spectrum.Rank90), fmt.Sprint(len(x.Spectrum.Singular))})
		}
		fmt.Fprintln(a.stdout)
		if err := printColumns(a.stdout, lines); err != nil {
			return err
		}
	}
	if r.Revived == nil {
		return nil
	}
	return a.printRevived(r.Revived)
}

// printRevived writes where pruned weights went, beside the kept ones.
func (a *app) printRevived(r *analysis.Revived) error {
	fmt.Fprintf(a.stdout, "\n%d revived weights, root mean square %.4g; %d kept ones, %.4g, changed by %.4g\n",
		r.Revived, r.RevivedRMS, r.Kept, r.KeptRMS, r.ChangeRMS)
	lines := [][]string{{"size / RMS of the kept", "revived", "kept", "change of the kept"}}
	percent := func(n, of int64) string { return fmt.Sprintf("%.2f %%", 100*float64(n)/float64(max(1, of))) }
	for i := range r.Edges {
		name := fmt.Sprintf("%.4g and more", r.Edges[i])
		if i+1 < len(r.Edges) {
			name = fmt.Sprintf("%.4g to %.4g", r.Edges[i], r.Edges[i+1])
		}
		lines = append(lines, []string{name, percent(r.RevivedBin[i], r.Revived), percent(r.KeptBin[i], r.Kept), percent(r.ChangeBin[i], r.Kept)})
	}
	return printColumns(a.stdout, lines)
}

func newAnalyzeOverlapCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "overlap A B",
		Short: "How much the masks of two runs have in common",
		Long: `Overlap compares the kept weights of two mask files or runs, matrix by matrix:
kept in both, in one only, and their Jaccard index beside the one that two
random masks of the same counts would have.`,
		Example: `  spdfctl analyze overlap runs/a runs/b
  spdfctl analyze overlap first.safetensors last.safetensors --json`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			x, err := readMasks(args[0])
			if err != nil {
				return err
			}
			y, err := readMasks(args[1])
			if err != nil {
				return err
			}
			rows, err := analysis.Overlaps(x, y)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"masks": rows[:len(rows)-1], "all": rows[len(rows)-1]})
			}
			lines := [][]string{{"mask", "weights", "kept in both", "only in A", "only in B", "Jaccard", "by chance"}}
			for _, r := range rows {
				lines = append(lines, []string{r.Name, fmt.Sprint(r.Total), fmt.Sprint(r.Both), fmt.Sprint(r.OnlyA), fmt.Sprint(r.OnlyB),
					fmt.Sprintf("%.4f", r.Jaccard), fmt.Sprintf("%.4f", r.Chance)})
			}
			return printColumns(a.stdout, lines)
		},
	}
}

func newAnalyzeHeadsCmd(a *app) *cobra.Command {
	var model string
	cmd := &cobra.Command{
		Use:   "heads MASK|RUN",
		Short: "Sparsity of every attention head",
		Long: `Heads splits the masks of the attention matrices by head: rows of q, k and v,
columns of the projection.`,
		Example: `  spdfctl analyze heads runs/sparse
  spdfctl analyze heads mask.safetensors --model gpt2 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if model == "" {
				model = args[0]
			}
			c, err := gpt.ResolveConfig(model)
			if err != nil {
				return withHint(fmt.Errorf("analyze heads: %w", err), "--model says how many heads there are")
			}
			set, err := readMasks(args[0])
			if err != nil {
				return err
			}
			rows, err := analysis.HeadSparsities(set, c.NHead)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"heads": rows})
			}
			lines := [][]string{{"matrix"}}
			for h := range c.NHead {
				lines[0] = append(lines[0], fmt.Sprintf("head %d", h))
			}
			for _, r := range rows {
				if r.Head == 0 {
					lines = append(lines, []string{fmt.Sprintf("h.%d %s", r.Layer, strings.TrimPrefix(r.Kind, "attn."))})
				}
				lines[len(lines)-1] = append(lines[len(lines)-1], fmt.Sprintf("%.4f", r.Sparsity))
			}
			return printColumns(a.stdout, lines)
		},
	}
	cmd.Flags().StringVar(&model, "model", "", "model of a mask file: preset, config.json or checkpoint")
	return cmd
}
