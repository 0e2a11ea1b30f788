package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/analysis"
)

func newFlopsPaperCmd(a *app) *cobra.Command {
	format := formatTable
	cmd := &cobra.Command{
		Use:   "paper",
		Short: "Count every FLOP number of the SPDF paper beside its print",
		Long: `Paper counts the FLOPs of the SPDF paper's Table 2 and of its supplement's Tables
2 and 3 and prints them beside what stands in the paper. A number that rounding
explains is marked "rounded"; one that contradicts the rest of the paper is
marked "misprint", with the reason.`,
		Example: `  spdfctl flops paper
  spdfctl flops paper --format markdown`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.flopsPaper(format) },
	}
	cmd.Flags().StringVar(&format, "format", formatTable, "table, csv, markdown or json")
	return cmd
}

func (a *app) flopsPaper(format string) error {
	if err := a.checkFormat("flops paper", &format); err != nil {
		return err
	}
	cells, err := analysis.PaperTables()
	if err != nil {
		return err
	}
	if format == formatJSON {
		return a.printJSON(map[string]any{"convention": analysis.SPDF, "cells": cells})
	}
	lines := [][]string{{"table", "model", "sparsity", "quantity", "printed", "counted", "verdict", "note"}}
	counts := map[string]int{}
	for _, c := range cells {
		counts[c.Verdict]++
		lines = append(lines, []string{c.Table, c.Model, fmt.Sprintf("%g", c.Sparsity), c.Column, c.Printed, c.Ours, c.Verdict, c.Note})
	}
	if format == formatTable {
		fmt.Fprintf(a.stdout, "convention:  %s: %s\n\n", analysis.SPDF, analysis.SPDF.Describe())
	}
	if err := printLines(a.stdout, format, lines); err != nil || format != formatTable {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "\n%d numbers: %d equal, %d rounded, %d misprints\n",
		len(cells), counts[analysis.VerdictEqual], counts[analysis.VerdictRounded], counts[analysis.VerdictMisprint])
	return err
}
