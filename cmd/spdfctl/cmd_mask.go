package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

func newMaskCmd(a *app) *cobra.Command {
	cmd := group(a, "mask", "Create, inspect, verify, compare and apply weight masks",
		newMaskCreateCmd(a), newMaskInspectCmd(a), newMaskVerifyCmd(a), newMaskDiffCmd(a), newMaskApplyCmd(a))
	cmd.Long = `A mask says which weights of each linear layer exist. Mask files are safetensors
files with a documented layout (docs/mask-format.md). Wherever one is read, a
run or checkpoint directory that holds masks.safetensors will do.`
	return cmd
}

// maskOptions are the flags of "mask create".
type maskOptions struct {
	model, sparsity                      string
	method, distribution, pattern, scope string
	compat                               string
	include, exclude                     []string
	seed                                 uint64
	out                                  string
	force                                bool
}

func newMaskCreateCmd(a *app) *cobra.Command {
	var o maskOptions
	cmd := &cobra.Command{
		Use:   "create --model MODEL --sparsity S -o FILE",
		Short: "Choose the weights that exist and write a mask file",
		Long: `Create draws a static random mask: of every linear layer of a block (query, key,
value, attention output, both of the MLP) the same fraction is pruned, exactly,
at places chosen uniformly at random. Embeddings, norms, biases and the head
stay dense. The mask of a matrix depends on the seed and its name only.

MODEL is a preset name, a config.json, a run directory or a checkpoint.
S is a fraction in [0, 1), read exactly: 0.75, 7.5e-1 or 2/3.
GLOB matches a name such as h.0.attn.c_attn.weight, or name#part with one of the
parts q, k and v; * crosses dots. --include takes what any of its globs matches
(everything without it), --exclude then leaves out.
--compat cstorch keeps the counts that Cerebras' library computes in float32.`,
		Example: `  spdfctl mask create --model gpt2 --sparsity 0.75 -o mask.safetensors
  spdfctl mask create --model spdf-gpt3-xl --sparsity 0.5 --seed 7 --exclude 'h.0.*' --exclude '*#v' -o mask.safetensors`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.createMask(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.model, "model", "", "preset name, config.json, run directory or checkpoint")
	f.StringVar(&o.sparsity, "sparsity", "", "fraction of each matrix that is pruned, in [0, 1)")
	f.StringVar(&o.method, "method", "random", "how weights are chosen: random")
	f.StringVar(&o.distribution, "distribution", "uniform", "how the sparsity is shared between matrices: uniform")
	f.StringVar(&o.pattern, "pattern", "unstructured", "structure of the kept weights: unstructured")
	f.StringVar(&o.scope, "scope", "layer", "where weights compete: layer")
	f.StringVar(&o.compat, "compat", "", "whose counts to reproduce: cstorch (default: exact)")
	f.StringArrayVar(&o.include, "include", nil, "only matrices that match this glob (repeatable)")
	f.StringArrayVar(&o.exclude, "exclude", nil, "no matrices that match this glob (repeatable)")
	f.Uint64Var(&o.seed, "seed", 0, "seed of the random choice")
	f.StringVarP(&o.out, "out", "o", "", "mask file to write")
	f.BoolVar(&o.force, "force", false, "replace an existing file")
	return cmd
}

// check reports a flag value that is missing or that create does not support.
func (o maskOptions) check() error {
	switch {
	case o.model == "":
		return usageErrorf("mask create: --model is missing: a preset name, config.json, run directory or checkpoint")
	case o.sparsity == "":
		return usageErrorf("mask create: --sparsity is missing: the fraction to prune, such as 0.75")
	case o.out == "":
		return usageErrorf("mask create: -o is missing: the mask file to write")
	}
	for _, f := range []struct{ flag, value, supported string }{
		{"method", o.method, "random"},
		{"distribution", o.distribution, "uniform"},
		{"pattern", o.pattern, "unstructured"},
		{"scope", o.scope, "layer"},
	} {
		if f.value != f.supported {
			return usageErrorf("mask create: --%s %q is not supported, only %q is", f.flag, f.value, f.supported)
		}
	}
	if o.compat != "" && o.compat != "cstorch" {
		return usageErrorf("mask create: --compat %q is not supported, only \"cstorch\" is", o.compat)
	}
	return nil
}

func (a *app) createMask(ctx context.Context, o maskOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	s, err := parseSparsity("mask create", o.sparsity)
	if err != nil {
		return err
	}
	c, err := gpt.ResolveConfig(o.model)
	if err != nil {
		return withPresetHint(err)
	}
	targets, err := selectTargets(gpt.MaskTargets(c), o.include, o.exclude)
	if err != nil {
		return err
	}
	// Before the work, not after it; Write looks again.
	if _, err := os.Lstat(o.out); err == nil && !o.force {
		return withHint(fmt.Errorf("mask create: %s: exists", o.out), "--force replaces it")
	}
	kept := masks.Uniform(targets, s)
	if o.compat == "cstorch" {
		if kept, err = masks.UniformCstorch(targets, s); err != nil {
			return fmt.Errorf("mask create: %w", err)
		}
	}
	list, err := a.randomMasks(ctx, targets, kept, o.seed)
	if err != nil {
		return err
	}
	recipe := masks.RandomRecipe(s, o.seed)
	recipe.Compat = o.compat
	set, err := masks.NewSet(list, recipe, int(c.Params().Total()))
	if err != nil {
		return err
	}
	if err := maskfile.Write(o.out, o.force, set); err != nil {
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

// randomMasks draws one mask after the other, each with all threads.
func (a *app) randomMasks(ctx context.Context, targets []masks.Target, kept []int, seed uint64) ([]*masks.Mask, error) {
	if a.threads > 0 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(a.threads))
	}
	p := a.startProgress("mask create", "matrices", int64(len(targets)))
	defer a.closeProgress()
	list := make([]*masks.Mask, len(targets))
	for i, t := range targets {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("mask create: %w", err)
		}
		var err error
		if list[i], err = masks.RandomMask(t, kept[i], seed); err != nil {
			return nil, err
		}
		p.Set(int64(i+1), "")
	}
	return list, nil
}

// parseSparsity reads the value of the --sparsity flag of a command.
func parseSparsity(command, text string) (masks.Sparsity, error) {
	s, err := masks.ParseSparsity(text)
	var (
		outside *masks.RangeError
		syntax  *masks.SyntaxError
	)
	switch {
	case err == nil:
		return s, nil
	case errors.As(err, &outside):
		usage := usageErrorf("%s: --sparsity %s is outside [0, 1)", command, text)
		if fraction := outside.Percent(); fraction != "" {
			return s, withHint(usage, "for %s %% write --sparsity %s", text, fraction)
		}
		return s, usage
	case errors.As(err, &syntax):
		usage := usageErrorf("%s: --sparsity %.64q %s", command, text, syntax.Why)
		if number, isPercent := strings.CutSuffix(text, "%"); isPercent {
			if _, err := masks.ParseSparsity(number); errors.As(err, &outside) && outside.Percent() != "" {
				return s, withHint(usage, "for %s %% write --sparsity %s", number, outside.Percent())
			}
		}
		return s, usage
	}
	return s, err
}

// selectTargets returns the targets that any glob of include matches (all, if
// there is none) and none of exclude does. A glob that matches nothing is an
// error: it is a misspelling.
func selectTargets(targets []masks.Target, include, exclude []string) ([]masks.Target, error) {
	matches := func(flag, glob string) (map[masks.Target]bool, error) {
		found := map[masks.Target]bool{}
		for _, t := range targets {
			byName, err := path.Match(glob, t.Name)
			if err != nil {
				return nil, usageErrorf("mask create: --%s %q: %w", flag, glob, err)
			}
			byKey, err := path.Match(glob, t.Key())
			if err != nil {
				return nil, usageErrorf("mask create: --%s %q: %w", flag, glob, err)
			}
			if byName || byKey {
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

// readMasks reads a mask file, or that of a run or checkpoint directory.
func readMasks(file string) (*masks.Set, error) {
	info, err := os.Stat(file)
	if err == nil && info.IsDir() {
		dir, err := gpt.CheckpointDir(file)
		if err != nil {
			return nil, err
		}
		file = filepath.Join(dir, gpt.MasksFile)
	}
	s, err := maskfile.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("mask: %w", err)
	}
	return s, err
}
