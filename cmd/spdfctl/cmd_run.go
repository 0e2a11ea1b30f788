package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func newRunCmd(a *app) *cobra.Command {
	var (
		out           string
		dryRun, force bool
		rate          float64
	)
	cmd := &cobra.Command{
		Use:   "run PLAN.yaml",
		Short: "Run a plan of several phases, from tokenizer to score",
		Long: `Run does the phases of a plan one after the other: tokenizer, prepare, pretrain,
densify, finetune, decode, loss, score. A phase has the settings of its command, as in
that command's configuration file; "from" and "@name" stand for what an earlier
phase wrote. A grid runs all combinations of some settings and picks the one with
the lowest validation loss or the highest BLEU.

Every phase has a folder below the plan's, and a record, NAME.json, with the
SHA-256 of what it read and wrote. A plan that was interrupted, or killed, is
started again with the same command: what is recorded is checked and left out,
training goes on from its newest checkpoint. A phase whose settings or inputs
have changed since is refused, unless --force does it anew.

--dry-run prices the plan and touches nothing: FLOPs by the ledger of "flops
report", time by measuring models of the same width with one and two blocks here,
or from --flop-rate. What the data would say, "expect" may say before it is there.
docs/plans/README.md has the keys of a plan, and plans.`,
		Example: `  spdfctl run docs/plans/laptop.yaml
  spdfctl run docs/plans/gpt3-xl.yaml --dry-run --flop-rate 2e11`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case rate != 0 && !dryRun:
				return usageErrorf("run: --flop-rate needs --dry-run")
			case !(rate >= 0 && rate <= 1e30):
				return usageErrorf("run: --flop-rate %g is outside 0 to 1e30", rate)
			case dryRun && force:
				return usageErrorf("run: --dry-run and --force exclude each other")
			}
			p, err := readPlan(args[0])
			if err != nil {
				return &usageError{err: err}
			}
			if out != "" {
				p.out = out
			}
			if p.out == "" {
				return usageErrorf("run: %s: out is missing, and -o is not given", p.path)
			}
			if dryRun {
				return a.pricePlan(cmd.Context(), p, rate)
			}
			r := &planRun{a: a, plan: p, force: force}
			if err := r.do(cmd.Context()); err != nil {
				if cmd.Context().Err() != nil {
					return withHint(err, "go on with: spdfctl run %s -o %s", p.path, p.out)
				}
				return err
			}
			return a.printRun(r)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "out", "o", "", "directory of the plan (default: its out)")
	f.BoolVar(&dryRun, "dry-run", false, "price the plan and run nothing")
	f.Float64Var(&rate, "flop-rate", 0, "FLOP/s to reckon the time from, instead of measuring (with --dry-run)")
	f.BoolVar(&force, "force", false, "do phases anew whose settings or inputs have changed")
	return cmd
}

// printRun prints what the phases gave.
func (a *app) printRun(r *planRun) error {
	if a.json {
		var list []*record
		for _, x := range r.plan.phases {
			list = append(list, r.done[x.Name])
		}
		return a.printJSON(map[string]any{"out": r.plan.out, "phases": list})
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "phase\tkind\tpicked\tresult")
	for _, x := range r.plan.phases {
		rec := r.done[x.Name]
		var result struct {
			Loss    *float64            `json:"loss"`
			ValLoss *float64            `json:"val_loss"`
			PPL     *float64            `json:"perplexity"`
			FLOPs   *float64            `json:"flops"`
			Seconds *float64            `json:"seconds"`
			Metrics map[string]*float64 `json:"metrics"`
		}
		// A result of another shape has nothing for the table.
		_ = json.Unmarshal(rec.Result, &result)
		text := ""
		add := func(name string, format string, v *float64) {
			if v == nil {
				return
			}
			if text != "" {
				text += ", "
			}
			text += fmt.Sprintf("%s "+format, name, *v)
		}
		add("loss", "%.4f", result.Loss)
		add("validation loss", "%.4f", result.ValLoss)
		add("perplexity", "%.4g", result.PPL)
		add("FLOPs", "%.3g", result.FLOPs)
		add("seconds", "%.1f", result.Seconds)
		for _, name := range []string{"bleu", "nist", "meteor", "rouge_l", "cider", "ter"} {
			add(name, "%.4g", result.Metrics[name])
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", x.Name, x.Kind, rec.Picked, text)
	}
	return w.Flush()
}
