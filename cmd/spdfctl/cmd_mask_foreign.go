package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/formats/npz"
	"github.com/spdfctl/spdfctl/formats/torch"
	"github.com/spdfctl/spdfctl/masks"
)

// maskLayouts are the values of --layout of "mask import".
var maskLayouts = strings.Join(convert.MaskLayouts, ", ")

func newMaskImportCmd(a *app) *cobra.Command {
	var (
		layout, model, out string
		force              bool
	)
	cmd := &cobra.Command{
		Use:   "import IN -o FILE",
		Short: "Read the masks of another tool",
		Long: `Import reads masks from a checkpoint or an .npz of another tool: X_orig beside
X_mask (torch), X beside X_mask (cstorch), NaN where a weight is pruned (nan),
eight elements to a byte, the first in the highest bit (packed: MaskLLM,
JaxPruner), compressed-tensors' sparse-bitmask and sparse-24-bitmask, arrays of
truth values (bool). Names and layout of the weights come from IN itself or, where
it has only masks, from --model. A pattern N:M that every group has is noted in FILE.`,
		Example: `  spdfctl mask import pruned.pt -o mask.safetensors
  spdfctl mask import masks.npz --layout packed --model gpt2/ -o mask.safetensors`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if out == "" {
				return usageErrorf("mask import: -o is missing: the mask file to write")
			}
			if layout != "" && !slices.Contains(convert.MaskLayouts, layout) {
				return usageErrorf("mask import: --layout %q is none of %s", layout, maskLayouts)
			}
			return a.importMasks(args[0], layout, model, out, force)
		},
	}
	f := cmd.Flags()
	f.StringVar(&layout, "layout", "", "how the masks are kept: "+maskLayouts+" (default: told by the names)")
	f.StringVar(&model, "model", "", "checkpoint that gives names, shapes and layout")
	f.StringVarP(&out, "out", "o", "", "mask file to write")
	f.BoolVar(&force, "force", false, "replace an existing file")
	return cmd
}

func (a *app) importMasks(in, layout, model, out string, force bool) error {
	c, err := openAny(in, convert.OpenOptions{})
	if err != nil {
		return err
	}
	defer c.Close()
	var like *convert.Checkpoint
	if model != "" {
		if like, err = openAny(model, convert.OpenOptions{}); err != nil {
			return err
		}
		defer like.Close()
	}
	list, parameters, err := c.ReadMasks(layout, like)
	if err != nil {
		return err
	}
	set, err := masks.NewSet(list, masks.Recipe{Method: "import", Pattern: masks.ExactPattern(list).String(), Scope: "layer"}, parameters)
	if err != nil {
		return err
	}
	if err := maskfile.Write(out, force, set); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return withHint(fmt.Errorf("mask import: %s: exists", out), "--force replaces it")
		}
		return err
	}
	a.logf("mask import: %s: kept %d of %d weights in %d matrices", out, set.Kept(), set.Total(), len(set.Masks))
	if a.json {
		return a.printJSON(newMaskReport(set))
	}
	return nil
}

func newMaskExportCmd(a *app) *cobra.Command {
	var (
		layout, weights, out string
		force                bool
	)
	cmd := &cobra.Command{
		Use:   "export FILE --weights CKPT --layout LAYOUT -o OUT",
		Short: "Write masks as another tool keeps them",
		Long: `Export writes the masks of FILE, over the weights of CKPT, as another tool keeps
them: torch, cstorch and nan as a PyTorch state dict (.pt), packed and bool as an
.npz of masks only, sparse-bitmask and sparse-24-bitmask as compressed-tensors'
safetensors, which hold only what is kept ("convert" has the first as --sparse bitmask,
with shards and other layouts). For those every pruned weight of CKPT must be +0,
and 2:4 is of the rows as they are stored.`,
		Example: `  spdfctl mask export mask.safetensors --weights gpt2/ --layout torch -o pruned.pt
  spdfctl mask export mask.safetensors --weights gpt2/ --layout packed -o masks.npz`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case out == "" || weights == "":
				return usageErrorf("mask export: -o and --weights are needed: the file to write, and the checkpoint of the weights")
			case !slices.Contains(convert.MaskLayouts, layout):
				return usageErrorf("mask export: --layout %q is none of %s", layout, maskLayouts)
			}
			return a.exportMasks(cmd.Context(), args[0], layout, weights, out, force)
		},
	}
	f := cmd.Flags()
	f.StringVar(&layout, "layout", "", "how the masks are to be kept: "+maskLayouts)
	f.StringVar(&weights, "weights", "", "checkpoint of the weights")
	f.StringVarP(&out, "out", "o", "", "file to write")
	f.BoolVar(&force, "force", false, "replace an existing file")
	return cmd
}

func (a *app) exportMasks(ctx context.Context, file, layout, weights, out string, force bool) error {
	set, err := readMasks(file)
	if err != nil {
		return err
	}
	c, err := openAny(weights, convert.OpenOptions{})
	if err != nil {
		return err
	}
	defer c.Close()
	n := 0
	if layout == convert.MasksBitmask || layout == convert.MasksBitmask24 {
		n, err = exportPacked(ctx, c, set, layout, out, force)
	} else {
		n, err = exportForeign(c, set, layout, out, force)
	}
	if errors.Is(err, fs.ErrExist) {
		return withHint(fmt.Errorf("mask export: %s: exists", out), "--force replaces it")
	}
	if err == nil {
		a.logf("mask export: %s: %d tensors", out, n)
	}
	return err
}

// exportPacked writes weights without what masks prune and returns how many
// tensors these are, a matrix counting as one.
func exportPacked(ctx context.Context, c *convert.Checkpoint, set *masks.Set, layout, out string, force bool) (int, error) {
	p, err := convert.NewPlan(c, convert.Options{To: convert.SafeTensors, Masks: set, Sparse: true, Sparse24: layout == convert.MasksBitmask24})
	if err != nil {
		return 0, err
	}
	return len(p.Outputs), p.Write(ctx, out, force, nil)
}

// exportForeign writes the tensors that another tool keeps masks in.
func exportForeign(c *convert.Checkpoint, set *masks.Set, layout, out string, force bool) (int, error) {
	tensors, err := c.ForeignMasks(layout, set)
	if err != nil {
		return 0, err
	}
	arrays := layout == convert.MasksPacked || layout == convert.MasksBool
	if ext := strings.ToLower(filepath.Ext(out)); arrays != (ext == ".npz") {
		return 0, usageErrorf("mask export: %s: --layout %s is written as .npz if it is packed or bool, as .pt otherwise", out, layout)
	}
	return len(tensors), formats.WriteAtomic(out, force, func(w io.Writer) error {
		if arrays {
			return npz.WriteZip(w, tensors, nil)
		}
		return torch.Write(w, tensors, torch.WriteOptions{})
	})
}
