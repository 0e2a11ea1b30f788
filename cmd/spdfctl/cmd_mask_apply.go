package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats/convert"
)

func newMaskApplyCmd(a *app) *cobra.Command {
	var (
		out, to string
		force   bool
	)
	cmd := &cobra.Command{
		Use:   "apply FILE CKPT -o OUT",
		Short: "Zero the pruned weights of a checkpoint",
		Long: `Apply copies a checkpoint to OUT and sets every pruned weight to +0, and the
moments that the checkpoint holds of such weights. CKPT is whatever "convert"
reads, or a run directory. Names, dtypes, metadata, the order of the elements and
all other weights stay as they are, bit for bit; the shards of an index become one
file. OUT is of the format that --to or its name says, as in "convert", and of that
of CKPT if both names end alike. Tensors are streamed.`,
		Example: `  spdfctl mask apply mask.safetensors gpt2/model.safetensors -o sparse.safetensors
  spdfctl mask apply mask.safetensors gpt2/pytorch_model.bin -o sparse.bin
  spdfctl mask apply mask.safetensors runs/dense -o sparse.safetensors --force`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.applyMask(cmd.Context(), args[0], args[1], out, to, force)
		},
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "checkpoint to write")
	cmd.Flags().StringVar(&to, "to", "", "format to write: safetensors, torch, npz, gguf or llmc (default: see above)")
	cmd.Flags().BoolVar(&force, "force", false, "replace an existing file")
	return cmd
}

func (a *app) applyMask(ctx context.Context, file, checkpoint, out, to string, force bool) error {
	if out == "" {
		return usageErrorf("mask apply: -o is missing: the checkpoint to write")
	}
	set, err := readMasks(file)
	if err != nil {
		return err
	}
	c, err := openAny(checkpoint, convert.OpenOptions{})
	if err != nil {
		return err
	}
	defer c.Close()
	o := convert.Options{Layout: convert.Keep}
	if o.To, err = appliedFormat(c, to, out); err != nil {
		return err
	}
	if o.To == convert.LLMC {
		o.Layout = "" // has one only
	}
	pruned, changed, err := c.Prune(set)
	if err != nil {
		return fmt.Errorf("mask apply: %w", err)
	}
	p, err := convert.NewPlan(c, o)
	if err != nil {
		return err
	}
	bar := a.startProgress("mask apply", "bytes", p.StoredBytes())
	defer bar.Close()
	if err := p.Write(ctx, out, force, func(done int64) { bar.Set(done, "") }); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return withHint(fmt.Errorf("mask apply: %s: exists", out), "--force replaces it")
		}
		return err
	}
	bar.Close()
	for _, n := range p.Notes {
		a.logf("mask apply: %s", n)
	}
	a.logDrops("mask apply", p.Drops)
	a.logf("mask apply: %s: %d pruned weights are +0, %d of them were not before", out, pruned, changed())
	if a.json {
		return a.printJSON(map[string]any{"pruned": pruned, "changed": changed(), "total": set.Total()})
	}
	return nil
}

// appliedFormat is the format to write: the one that to names, that of the source if
// it is one that is written and the names end alike, or what the output's name says.
func appliedFormat(c *convert.Checkpoint, to, out string) (string, error) {
	if to == "" && filepath.Ext(out) == filepath.Ext(c.Path) {
		switch c.Format {
		case convert.TorchLegacy, convert.TorchTar:
			return convert.TorchZip, nil
		case convert.SafeTensors, convert.TorchZip, convert.Npz, convert.GGUF, convert.LLMC:
			return c.Format, nil
		}
	}
	return targetFormat("mask apply", to, "", out)
}
