package main

import (
	"context"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats/convert"
)

func newDiffCmd(a *app) *cobra.Command {
	var t convert.Tolerance
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two checkpoints of any format, tensor by tensor",
		Long: `Diff compares the tensors of two checkpoints by their names: types, shapes and bits.
With --rtol or --atol floats may differ by |a - b| <= atol + rtol * |b|, and may be
of different types. A difference ends the command with exit code 3.`,
		Example: `  spdfctl diff model.safetensors pytorch_model.bin
  spdfctl diff f32.safetensors f16.gguf --rtol 1e-3 --json`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, v := range []float64{t.Rel, t.Abs} {
				if !(v >= 0) || math.IsInf(v, 0) {
					return usageErrorf("diff: tolerance %g is not a number of 0 or more", v)
				}
			}
			return a.diff(cmd.Context(), args[0], args[1], t)
		},
	}
	cmd.Flags().Float64Var(&t.Rel, "rtol", 0, "relative tolerance")
	cmd.Flags().Float64Var(&t.Abs, "atol", 0, "absolute tolerance")
	return cmd
}

// checkpointDiff is the document of "diff --json".
type checkpointDiff struct {
	Equal     bool             `json:"equal"`
	OnlyInA   []string         `json:"only_in_a"`
	OnlyInB   []string         `json:"only_in_b"`
	Different []tensorDiffered `json:"different"`
}

// tensorDiffered has null maxima where values were not compared.
type tensorDiffered struct {
	Name   string   `json:"name"`
	Reason string   `json:"reason"`
	MaxAbs *float64 `json:"max_abs"`
	MaxRel *float64 `json:"max_rel"`
}

func (a *app) diff(ctx context.Context, fileA, fileB string, t convert.Tolerance) error {
	x, err := openAny(fileA, convert.OpenOptions{SkipObjects: true})
	if err != nil {
		return err
	}
	defer x.Close()
	y, err := openAny(fileB, convert.OpenOptions{SkipObjects: true})
	if err != nil {
		return err
	}
	defer y.Close()
	total := int64(0)
	for _, tensor := range x.Tensors {
		total += tensor.Bytes
	}
	bar := a.startProgress("diff", "bytes", total)
	d, err := convert.Compare(ctx, x, y, t, func(done int64) { bar.Set(done, "") })
	if err != nil {
		return err
	}
	bar.Close()
	out := checkpointDiff{Equal: d.Equal(), OnlyInA: append([]string{}, d.OnlyInA...), OnlyInB: append([]string{}, d.OnlyInB...), Different: []tensorDiffered{}}
	for _, v := range d.Different {
		e := tensorDiffered{Name: v.Name, Reason: v.Reason}
		if v.Values {
			e.MaxAbs, e.MaxRel = &v.MaxAbs, &v.MaxRel
		}
		out.Different = append(out.Different, e)
	}
	if a.json {
		err = a.printJSON(out)
	} else {
		err = a.printDiff(out)
	}
	if err != nil || out.Equal {
		return err
	}
	return differenceErrorf("diff: %s and %s differ: %d tensors are only in the first, %d only in the second, %d of %d in both differ",
		fileA, fileB, len(out.OnlyInA), len(out.OnlyInB), len(out.Different), d.Compared)
}

func (a *app) printDiff(d checkpointDiff) error {
	if len(d.Different) > 0 {
		t := newTable("tensor", "differs in", "max abs", "max rel")
		for _, v := range d.Different {
			maxAbs, maxRel := "-", "-"
			if v.MaxAbs != nil {
				maxAbs, maxRel = fmt.Sprintf("%.3g", *v.MaxAbs), fmt.Sprintf("%.3g", *v.MaxRel)
			}
			t.add(visible(v.Name), v.Reason, maxAbs, maxRel)
		}
		if err := t.print(a.stdout); err != nil {
			return err
		}
	}
	for _, name := range d.OnlyInA {
		fmt.Fprintf(a.stdout, "only in a: %s\n", visible(name))
	}
	for _, name := range d.OnlyInB {
		fmt.Fprintf(a.stdout, "only in b: %s\n", visible(name))
	}
	return nil
}
