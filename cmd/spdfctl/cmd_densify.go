package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats"
)

func newDensifyCmd(a *app) *cobra.Command {
	var (
		out   string
		force bool
	)
	cmd := &cobra.Command{
		Use:   "densify RUN|CKPT -o DIR",
		Short: "Drop the masks of a checkpoint",
		Long: `Densify writes a checkpoint without masks: the pruned weights exist again and
are 0, so that the logits are those of the sparse model. Finetune does so by
itself; this is for other tools and for plans.`,
		Example: `  spdfctl densify runs/sparse -o dense
  spdfctl densify runs/sparse/checkpoints/step-00001000 -o dense --force`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usageErrorf("densify: -o is missing: the directory to write")
			}
			m, tok, err := loadModel(args[0], false)
			if err != nil {
				return err
			}
			eot, err := endOfText(tok, args[0])
			if err != nil {
				return err
			}
			_, kept := m.Counts()
			d, err := m.Densify()
			if err != nil {
				return err
			}
			total, _ := d.Counts()
			err = formats.AtomicDir(out, force, func(tmp string) error {
				if err := d.WriteCheckpoint(tmp, int(eot)); err != nil {
					return err
				}
				return tok.Save(tmp)
			})
			if err != nil {
				return withForceHint(err)
			}
			if a.json {
				return a.printJSON(map[string]any{"checkpoint": out, "parameters": total, "revived": total - kept})
			}
			_, err = fmt.Fprintf(a.stdout, "%s: %d parameters, %d revived at 0\n", out, total, total-kept)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "out", "o", "", "checkpoint directory to write")
	f.BoolVar(&force, "force", false, "replace an existing directory")
	return cmd
}
