package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/masks"
)

func newMaskVerifyCmd(a *app) *cobra.Command {
	var weights, key, signature string
	cmd := &cobra.Command{
		Use:   "verify FILE [--weights CKPT]",
		Short: "Check a mask file, and that a checkpoint obeys it",
		Long: `Verify counts and hashes every mask and compares with what the file says. With
--weights it also makes sure that every pruned weight of a checkpoint is exactly
+0, all its bits zero, in the dtype in which it is stored, and so the moments that
the checkpoint holds of such weights; CKPT is whatever "convert" reads, or a run
directory. Matrices are found under the names that "mask create" gives them or
those of the checkpoint's own layout.
With --key the Ed25519 signature FILE.sig, or --signature, must be that of this
public key. A difference ends the command with exit code 3.`,
		Example: `  spdfctl mask verify mask.safetensors
  spdfctl mask verify mask.safetensors --weights runs/sparse
  spdfctl mask verify mask.safetensors --weights pytorch_model.bin --json
  spdfctl mask verify mask.safetensors --key public.pem`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if signature != "" && key == "" {
				return usageErrorf("mask verify: --signature needs --key")
			}
			if key != "" {
				if err := verifySignature(args[0], signature, key); err != nil {
					return err
				}
			}
			return a.verifyMask(args[0], weights)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "public Ed25519 key in PEM that must have signed")
	cmd.Flags().StringVar(&signature, "signature", "", "signature to check (default: FILE.sig)")
	cmd.Flags().StringVar(&weights, "weights", "", "checkpoint whose pruned weights must be +0")
	return cmd
}

// maskVerdict is the document of "mask verify --json".
type maskVerdict struct {
	OK      bool         `json:"ok"`
	Masks   int          `json:"masks"`
	Kept    int          `json:"kept"`
	Total   int          `json:"total"`
	Weights *weightsSeen `json:"weights,omitempty"` // with --weights
}

// weightsSeen says what a checkpoint has where masks prune.
type weightsSeen struct {
	Pruned  int           `json:"pruned"`  // weights that the masks prune, and their moments
	NonZero int           `json:"nonzero"` // those that are not exactly +0
	Tensors []weightsLeft `json:"tensors"` // the masks and tensors that have such
}

type weightsLeft struct {
	Name    string `json:"name"`
	Part    string `json:"part"`
	Tensor  string `json:"tensor"` // where it is stored
	NonZero int    `json:"nonzero"`
	First   [2]int `json:"first"` // (out, in)
}

func (a *app) verifyMask(file, weights string) error {
	set, err := readMasks(file)
	if err != nil {
		var changed *maskfile.MismatchError
		if errors.As(err, &changed) {
			return differenceErrorf("mask verify: %w", err)
		}
		return err
	}
	v := maskVerdict{OK: true, Masks: len(set.Masks), Kept: set.Kept(), Total: set.Total()}
	var found []convert.Awake
	if weights != "" {
		c, err := openAny(weights, convert.OpenOptions{})
		if err != nil {
			return err
		}
		defer c.Close()
		v.Weights = &weightsSeen{Tensors: []weightsLeft{}}
		if found, v.Weights.Pruned, err = c.FindAwake(set); err != nil {
			return fmt.Errorf("mask verify: %w", err)
		}
		for _, w := range found {
			v.OK = false
			v.Weights.NonZero += w.Count
			v.Weights.Tensors = append(v.Weights.Tensors, weightsLeft{w.Mask.Name, w.Mask.Part, w.Tensor, w.Count, [2]int{w.Row, w.Col}})
		}
	}
	if err := a.printVerdict(v); err != nil {
		return err
	}
	if !v.OK {
		w := found[0]
		return differenceErrorf("mask verify: %s: %d of %d pruned weights are not +0, the first is (%d, %d) of %s in %s",
			weights, v.Weights.NonZero, v.Weights.Pruned, w.Row, w.Col, w.Mask.Key(), visible(w.Tensor))
	}
	return nil
}

func (a *app) printVerdict(v maskVerdict) error {
	if a.json {
		return a.printJSON(v)
	}
	_, err := fmt.Fprintf(a.stdout, "%d masks, %d of %d weights kept: counts and hashes agree\n", v.Masks, v.Kept, v.Total)
	if err != nil || v.Weights == nil {
		return err
	}
	if v.OK {
		_, err = fmt.Fprintf(a.stdout, "%d pruned weights are +0\n", v.Weights.Pruned)
		return err
	}
	fmt.Fprintln(a.stdout)
	t := newTable("matrix", "stored in", "not +0", "first")
	for _, w := range v.Weights.Tensors {
		key := masks.Target{Name: w.Name, Part: w.Part}.Key()
		t.add(key, visible(w.Tensor), strconv.Itoa(w.NonZero), fmt.Sprintf("(%d, %d)", w.First[0], w.First[1]))
	}
	return t.print(a.stdout)
}

func newMaskDiffCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "diff A B",
		Short: "Compare the kept weights of two mask files",
		Long: `Diff prints, for every matrix, how many weights both masks keep and how many only
one of them does, their overlap (both ÷ kept by the sparser one) and Jaccard index
(both ÷ kept by either). How the masks were made does not count. A difference ends the
command with exit code 3.`,
		Example: `  spdfctl mask diff a.safetensors b.safetensors
  spdfctl mask diff runs/one runs/two --json`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.diffMasks(args[0], args[1])
		},
	}
}

// maskDiff is the document of "mask diff --json".
type maskDiff struct {
	Equal   bool           `json:"equal"`
	OnlyInA []string       `json:"only_in_a"` // masks of which the other file has none of the same shape
	OnlyInB []string       `json:"only_in_b"`
	Tensors []maskOverlap  `json:"tensors"` // masks that both files have
	Sum     maskOverlapSum `json:"sum"`
}

type maskOverlap struct {
	Name  string `json:"name"`
	Part  string `json:"part"`
	Shape [2]int `json:"shape"`
	maskOverlapSum
}

// maskOverlapSum counts weights by who keeps them.
type maskOverlapSum struct {
	Both  int `json:"both"`
	OnlyA int `json:"only_a"`
	OnlyB int `json:"only_b"`
	// Jaccard is both ÷ kept by either, Overlap both ÷ kept by the sparser one;
	// 1 where neither keeps anything.
	Jaccard float64 `json:"jaccard"`
	Overlap float64 `json:"overlap"`
}

// share fills in the ratios.
func (s *maskOverlapSum) share() {
	ratio := func(all int) float64 {
		if all == 0 {
			return 1
		}
		return float64(s.Both) / float64(all)
	}
	s.Jaccard = ratio(s.Both + s.OnlyA + s.OnlyB)
	s.Overlap = ratio(s.Both + min(s.OnlyA, s.OnlyB))
}

func (a *app) diffMasks(fileA, fileB string) error {
	x, err := readMasks(fileA)
	if err != nil {
		return err
	}
	y, err := readMasks(fileB)
	if err != nil {
		return err
	}
	d := compareMasks(x, y)
	if a.json {
		err = a.printJSON(d)
	} else {
		err = a.printMaskDiff(d)
	}
	if err != nil || d.Equal {
		return err
	}
	return differenceErrorf("mask diff: %s and %s differ: %d weights are kept by both, %d only by the first, %d only by the second; %d and %d matrices have no counterpart",
		fileA, fileB, d.Sum.Both, d.Sum.OnlyA, d.Sum.OnlyB, len(d.OnlyInA), len(d.OnlyInB))
}

func compareMasks(x, y *masks.Set) maskDiff {
	d := maskDiff{OnlyInA: []string{}, OnlyInB: []string{}, Tensors: []maskOverlap{}}
	same := func(m, o *masks.Mask) bool { return o != nil && m.Target() == o.Target() }
	for _, m := range x.Masks {
		o := y.Find(m.Name, m.Part)
		if !same(m, o) {
			d.OnlyInA = append(d.OnlyInA, m.Key())
			continue
		}
		t := maskOverlap{Name: m.Name, Part: m.Part, Shape: [2]int{m.Out, m.In}}
		t.Both, t.OnlyA, t.OnlyB = m.Overlap(o)
		d.Sum.Both += t.Both
		d.Sum.OnlyA += t.OnlyA
		d.Sum.OnlyB += t.OnlyB
		t.share()
		d.Tensors = append(d.Tensors, t)
	}
	for _, o := range y.Masks {
		if !same(o, x.Find(o.Name, o.Part)) {
			d.OnlyInB = append(d.OnlyInB, o.Key())
		}
	}
	d.Sum.share()
	d.Equal = d.Sum.OnlyA+d.Sum.OnlyB+len(d.OnlyInA)+len(d.OnlyInB) == 0
	return d
}

func (a *app) printMaskDiff(d maskDiff) error {
	t := newTable("matrix", "shape", "both", "only a", "only b", "overlap", "jaccard")
	for _, m := range d.Tensors {
		key := masks.Target{Name: m.Name, Part: m.Part}.Key()
		t.add(key, fmt.Sprintf("(%d, %d)", m.Shape[0], m.Shape[1]), strconv.Itoa(m.Both), strconv.Itoa(m.OnlyA), strconv.Itoa(m.OnlyB), fmt.Sprintf("%.6f", m.Overlap), fmt.Sprintf("%.6f", m.Jaccard))
	}
	t.add("all", "", strconv.Itoa(d.Sum.Both), strconv.Itoa(d.Sum.OnlyA), strconv.Itoa(d.Sum.OnlyB), fmt.Sprintf("%.6f", d.Sum.Overlap), fmt.Sprintf("%.6f", d.Sum.Jaccard))
	if err := t.print(a.stdout); err != nil {
		return err
	}
	for _, key := range d.OnlyInA {
		fmt.Fprintf(a.stdout, "only in a: %s\n", key)
	}
	for _, key := range d.OnlyInB {
		fmt.Fprintf(a.stdout, "only in b: %s\n", key)
	}
	return nil
}
