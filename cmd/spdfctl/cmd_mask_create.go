package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// maskOptions are the flags of "mask create".
type maskOptions struct {
	model, sparsity                      string
	method, distribution, pattern, scope string
	compat, groups, cerebras, arch       string
	include, exclude                     []string
	seed                                 uint64
	procedural                           bool
	out                                  string
	force                                bool
}

func newMaskCreateCmd(a *app) *cobra.Command {
	var o maskOptions
	cmd := &cobra.Command{
		Use:   "create --model MODEL --sparsity S -o FILE",
		Short: "Choose the weights that exist and write a mask file",
		Long: `Create chooses, of every linear layer of a block (query, key, value, attention
output, both of the MLP), the weights that exist. Embeddings, norms, biases and
the head stay dense.

--method random draws them (a mask depends on the seed and its name only),
magnitude keeps the largest weights of the checkpoint MODEL, from-zeros those
that are not zero, checkerboard spreads them evenly. Ties go to the lower index.
--distribution gives every matrix the same sparsity (uniform) or Erdos-Renyi
densities (er, erk; the same for matrices), which add up to S.
--pattern is unstructured, N:M (N kept of every M in a row; it says its own
sparsity), block:RxC, balanced:row or balanced:column.
--scope says which weights compete: those of a layer, a row, or all of them.

MODEL is a preset name, a config.json, a run directory or a checkpoint of any
format that "spdfctl convert" reads. S is a fraction in [0, 1), read exactly:
0.75, 7.5e-1 or 2/3.
GLOB matches a name such as h.0.attn.c_attn.weight, or name#part with one of the
parts q, k and v; * crosses dots. --include takes what any of its globs matches
(everything without it), --exclude then leaves out. --groups reads other
sparsities for some matrices from YAML: groups: [{match: GLOB, sparsity: 0.9}].
--cerebras reads the block "sparsity:" of a Model Zoo file instead of these flags.
--compat cstorch keeps the counts that Cerebras' library computes in float32.
--procedural writes how to make the masks and their hashes, not their bits.`,
		Example: `  spdfctl mask create --model gpt2 --sparsity 0.75 -o mask.safetensors
  spdfctl mask create --model pytorch_model.bin --method magnitude --pattern 2:4 -o mask.safetensors
  spdfctl mask create --model spdf-gpt3-xl --sparsity 0.5 --distribution erk --seed 7 --exclude '*#v' -o mask.safetensors`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.createMask(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.model, "model", "", "preset name, config.json, run directory or checkpoint")
	f.StringVar(&o.sparsity, "sparsity", "", "fraction of each matrix that is pruned, in [0, 1)")
	f.StringVar(&o.method, "method", "random", "how weights are chosen: random, magnitude, from-zeros or checkerboard")
	f.StringVar(&o.distribution, "distribution", "uniform", "how the sparsity is shared between matrices: uniform, er or erk")
	f.StringVar(&o.pattern, "pattern", "unstructured", "structure of the kept weights: unstructured, N:M, block:RxC, balanced:row or balanced:column")
	f.StringVar(&o.scope, "scope", "layer", "where weights compete: layer, row or global")
	f.StringVar(&o.compat, "compat", "", "whose counts to reproduce: cstorch (default: exact)")
	f.StringVar(&o.groups, "groups", "", "YAML file with other sparsities for some matrices")
	f.StringVar(&o.cerebras, "cerebras", "", "YAML file with Cerebras' block sparsity:, instead of the flags")
	f.StringVar(&o.arch, "arch", "", "architecture of the checkpoint, if it cannot be told")
	f.StringArrayVar(&o.include, "include", nil, "only matrices that match this glob (repeatable)")
	f.StringArrayVar(&o.exclude, "exclude", nil, "no matrices that match this glob (repeatable)")
	f.Uint64Var(&o.seed, "seed", 0, "seed of the random choice")
	f.BoolVar(&o.procedural, "procedural", false, "write the recipe and the hashes only")
	f.StringVarP(&o.out, "out", "o", "", "mask file to write")
	f.BoolVar(&o.force, "force", false, "replace an existing file")
	return cmd
}

// options reads the flags.
func (o maskOptions) options() (masks.Options, error) {
	m := masks.Options{Method: o.method, Distribution: o.distribution, Scope: o.scope, Compat: o.compat, Seed: o.seed}
	switch {
	case o.model == "":
		return m, usageErrorf("mask create: --model is missing: a preset name, config.json, run directory or checkpoint")
	case o.out == "":
		return m, usageErrorf("mask create: -o is missing: the mask file to write")
	}
	var err error
	if m.Pattern, err = masks.ParsePattern(o.pattern); err != nil {
		return m, usageErrorf("mask create: --pattern: %s", strings.TrimPrefix(err.Error(), "masks: "))
	}
	if o.cerebras != "" {
		if o.sparsity != "" || o.groups != "" {
			return m, usageErrorf("mask create: --cerebras says the sparsity, without --sparsity and --groups")
		}
		return m, nil
	}
	if o.sparsity != "" {
		if m.Sparsity, err = parseSparsity("mask create", o.sparsity); err != nil {
			return m, err
		}
		m.Given = true
	} else if o.method != "from-zeros" && (m.Pattern.Kind != masks.NofM || o.distribution != "uniform") {
		return m, usageErrorf("mask create: --sparsity is missing: the fraction to prune, such as 0.75")
	}
	if o.groups != "" {
		if m.Groups, err = maskfile.ReadGroups(o.groups); err != nil {
			return m, err
		}
	}
	if err := m.Check(); err != nil {
		return m, usageErrorf("mask create: %s", strings.TrimPrefix(err.Error(), "masks: "))
	}
	return m, nil
}

func (a *app) createMask(ctx context.Context, o maskOptions) error {
	m, err := o.options()
	if err != nil {
		return err
	}
	if a.threads > 0 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(a.threads))
	}
	var dynamics []masks.Dynamics
	if o.cerebras != "" {
		if dynamics, err = maskfile.ReadCerebras(o.cerebras); err != nil {
			return err
		}
		m.Method = dynamics[0].Method
	}
	targets, parameters, weights, closeModel, err := maskModel(o, m)
	if err != nil {
		return err
	}
	defer closeModel()
	m.Weights = weights
	if targets, err = selectTargets(targets, o.include, o.exclude); err != nil {
		return err
	}
	if dynamics != nil {
		if targets, err = cerebrasGroups(&m, targets, dynamics); err != nil {
			return err
		}
	}
	// Before the work, not after it; Write looks again.
	if _, err := os.Lstat(o.out); err == nil && !o.force {
		return withHint(fmt.Errorf("mask create: %s: exists", o.out), "--force replaces it")
	}
	p := a.startProgress("mask create", "matrices", int64(len(targets)))
	defer a.closeProgress()
	done := int64(0)
	m.Done = func() error {
		done++
		p.Set(done, "")
		return ctx.Err()
	}
	set, err := masks.Create(targets, m)
	if err != nil {
		return fmt.Errorf("mask create: %w", err)
	}
	set.Parameters = parameters
	write := maskfile.Write
	if o.procedural {
		write = maskfile.WriteProcedural
	}
	if err := write(o.out, o.force, set); err != nil {
		return err
	}
	overall, _ := set.OverallSparsity()
	a.logf("mask create: %s: kept %d of %d weights in %d matrices, sparsity %.6g, overall sparsity %.6g",
		o.out, set.Kept(), set.Total(), len(set.Masks), set.Sparsity(), overall)
	if a.json {
		return a.printJSON(newMaskReport(set))
	}
	return nil
}

// maskModel returns the matrices of a model and, where the method looks at them,
// what reads its weights.
func maskModel(o maskOptions, m masks.Options) (targets []masks.Target, parameters int, weights func(t masks.Target, old masks.Scores) (masks.Scores, error), closeModel func() error, err error) {
	closeModel = func() error { return nil }
	looks := m.Method == "magnitude" || m.Method == "from-zeros"
	_, preset := gpt.Preset(o.model)
	if !looks {
		c, err := gpt.ResolveConfig(o.model)
		if err == nil {
			return gpt.MaskTargets(c), int(c.Params().Total()), nil, closeModel, nil
		}
		if _, statErr := os.Stat(o.model); statErr != nil || strings.HasSuffix(o.model, ".json") {
			return nil, 0, nil, closeModel, withPresetHint(err)
		}
	} else if preset {
		return nil, 0, nil, closeModel, usageErrorf("mask create: --method %s looks at weights: --model %s has none", m.Method, o.model)
	}
	c, err := openAny(o.model, convert.OpenOptions{})
	if err != nil {
		return nil, 0, nil, closeModel, err
	}
	ms, err := c.Matrices(o.arch)
	if err != nil {
		c.Close()
		return nil, 0, nil, closeModel, err
	}
	return ms.Targets, ms.Parameters, ms.Scores, c.Close, nil
}

// cerebrasGroups turns the groups of Cerebras' block into those of m: the first
// whose filter matches counts, what none matches stays dense. Their filters are of
// Cerebras' names, GPT-2's are taken too.
func cerebrasGroups(m *masks.Options, targets []masks.Target, list []masks.Dynamics) ([]masks.Target, error) {
	var chosen []masks.Target
	for _, t := range targets {
		for _, d := range list {
			if d.Method != list[0].Method {
				return nil, fmt.Errorf("mask create: the groups have the methods %s and %s, one file has one", list[0].Method, d.Method)
			}
			found := d.Filter == nil
			for _, glob := range d.Filter {
				ours, err := t.Matches(glob)
				if err != nil {
					return nil, fmt.Errorf("mask create: %w", err)
				}
				theirs, err := masks.Target{Name: convert.CerebrasName(t)}.Matches(glob)
				if err != nil {
					return nil, fmt.Errorf("mask create: %w", err)
				}
				found = found || ours || theirs
			}
			if !found {
				continue
			}
			text := d.Text
			if text == "" {
				text = fmt.Sprint(d.Sparsity.At(d.Updates.Begin))
			}
			s, err := masks.ParseSparsity(text)
			if err != nil {
				return nil, fmt.Errorf("mask create: %w", err)
			}
			m.Groups = append(m.Groups, masks.Group{Match: globOf(t), Sparsity: s})
			if !m.Given {
				m.Sparsity, m.Given = s, true
			}
			chosen = append(chosen, t)
			break
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("mask create: param_filter matches none of %d matrices", len(targets))
	}
	if m.Method == "from-zeros" {
		m.Groups, m.Given = nil, false
	}
	return chosen, nil
}

// globOf returns a glob that matches one key.
func globOf(t masks.Target) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(t.Key())
}

// selectTargets returns the targets that any glob of include matches (all, if
// there is none) and none of exclude does. A glob that matches nothing is an
// error: it is a misspelling.
func selectTargets(targets []masks.Target, include, exclude []string) ([]masks.Target, error) {
	matches := func(flag, glob string) (map[masks.Target]bool, error) {
		found := map[masks.Target]bool{}
		for _, t := range targets {
			switch ok, err := t.Matches(glob); {
			case err != nil:
				return nil, usageErrorf("mask create: --%s %q: syntax error in pattern", flag, glob)
			case ok:
				found[t] = true
			}
		}
		if len(found) == 0 {
			return nil, withHint(usageErrorf("mask create: --%s %q matches none of %d matrices", flag, glob, len(targets)),
				"the first is %s, the last %s", targets[0].Key(), targets[len(targets)-1].Key())
		}
		return found, nil
	}
	taken := map[masks.Target]bool{}
	for _, glob := range include {
		found, err := matches("include", glob)
		if err != nil {
			return nil, err
		}
		for t := range found {
			taken[t] = true
		}
	}
	left := map[masks.Target]bool{}
	for _, glob := range exclude {
		found, err := matches("exclude", glob)
		if err != nil {
			return nil, err
		}
		for t := range found {
			left[t] = true
		}
	}
	var list []masks.Target
	for _, t := range targets {
		if (len(include) == 0 || taken[t]) && !left[t] {
			list = append(list, t)
		}
	}
	if len(list) == 0 {
		return nil, usageErrorf("mask create: --include and --exclude leave none of %d matrices", len(targets))
	}
	return list, nil
}
