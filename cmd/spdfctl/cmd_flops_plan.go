package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spdfctl/spdfctl/analysis"
)

// phaseSpec is one phase as the user wrote it: its keys with their values.
type phaseSpec struct {
	text   string // where it stands, for errors
	values map[string]string
}

// phaseKeys are what a phase may say.
const phaseKeys = "name, sparsity, mask, tokens, seqs, seq-len, batch, method, from, start, end, every, curve"

// parsePhase reads key=value pairs.
func parsePhase(text string) (phaseSpec, error) {
	p := phaseSpec{fmt.Sprintf("--phase %q", text), map[string]string{}}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return p, usageErrorf("flops report: %s: %q is not key=value", p.text, pair)
		}
		if _, twice := p.values[key]; twice {
			return p, usageErrorf("flops report: %s: %s is given twice", p.text, key)
		}
		p.values[key] = value
	}
	return p, p.check()
}

// check refuses a key that no phase has.
func (p phaseSpec) check() error {
	known := strings.Split(phaseKeys, ", ")
	for _, key := range slices.Sorted(maps.Keys(p.values)) {
		if !slices.Contains(known, key) {
			return usageErrorf("flops report: %s: %q is none of %s", p.text, key, phaseKeys)
		}
	}
	return nil
}

// readPhases reads a plan file, YAML with one list "phases" of mappings that
// have the keys of --phase.
func readPhases(path string) ([]phaseSpec, error) {
	var plan struct {
		Phases []map[string]string `yaml:"phases"`
	}
	if err := readYAML(path, &plan); err != nil {
		return nil, fmt.Errorf("flops report: %w", err)
	}
	if len(plan.Phases) == 0 {
		return nil, fmt.Errorf("flops report: %s: no phases", path)
	}
	specs := make([]phaseSpec, len(plan.Phases))
	for i, values := range plan.Phases {
		specs[i] = phaseSpec{fmt.Sprintf("%s: phase %d", path, i+1), values}
		if err := specs[i].check(); err != nil {
			return nil, err
		}
	}
	return specs, nil
}

// specs returns the phases of --plan, then those of --phase.
func (flags *flopsFlags) specs() ([]phaseSpec, error) {
	var specs []phaseSpec
	if flags.plan != "" {
		var err error
		if specs, err = readPhases(flags.plan); err != nil {
			return nil, err
		}
	}
	for _, text := range flags.phases {
		spec, err := parsePhase(text)
		if err != nil {
			return nil, err
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

// count returns the count under key, or fallback.
func (p phaseSpec) count(key string, fallback int64) (int64, error) {
	value, ok := p.values[key]
	if !ok {
		return fallback, nil
	}
	n, err := parseCount(value)
	if err != nil {
		return 0, usageErrorf("flops report: %s: %s: %w", p.text, key, err)
	}
	if n < 1 {
		return 0, usageErrorf("flops report: %s: %s is %d, want at least 1", p.text, key, n)
	}
	return n, nil
}

// fraction returns the number in [0, 1] under key, or fallback.
func (p phaseSpec) fraction(key string, fallback float64) (float64, error) {
	value, ok := p.values[key]
	if !ok {
		return fallback, nil
	}
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, usageErrorf("flops report: %s: %s %q is not a fraction in [0, 1]", p.text, key, value)
	}
	return f, nil
}

// Intervals of dynamic masks unless the phase says otherwise: the public
// configurations of SET, RigL and GMP update every 100 steps and stop at three
// quarters of the run.
const (
	defaultEvery = 100
	defaultEnd   = 0.75
)

// phase turns a specification into what the ledger prices.
func (p phaseSpec) phase(shape analysis.Shape, seqLen, batch int64) (analysis.Phase, error) {
	out := analysis.Phase{Name: p.values["name"]}
	length, err := p.count("seq-len", seqLen)
	if err != nil {
		return out, err
	}
	if length > int64(shape.NCtx) {
		return out, usageErrorf("flops report: %s: seq-len %d, the model has positions for %d", p.text, length, shape.NCtx)
	}
	out.SeqLen = int(length)
	if batch, err = p.count("batch", batch); err != nil {
		return out, err
	}
	_, byTokens := p.values["tokens"]
	_, bySeqs := p.values["seqs"]
	if byTokens == bySeqs {
		return out, usageErrorf("flops report: %s: one of tokens and seqs must say how long it is", p.text)
	}
	seqs, err := p.count("seqs", 1)
	if err != nil {
		return out, err
	}
	if byTokens {
		tokens, err := p.count("tokens", 1)
		if err != nil {
			return out, err
		}
		seqs = max(1, (tokens+length/2)/length)
	}
	var scenario analysis.Scenario
	switch path, text := p.values["mask"], p.values["sparsity"]; {
	case path != "" && text != "":
		return out, usageErrorf("flops report: %s: mask and sparsity exclude each other", p.text)
	case path != "":
		scenario, err = maskScenario(shape, path)
	case text != "":
		s, bad := parseSparsity("flops report", text)
		scenario, err = analysis.Scenario{Sparsity: s.Float64(), Kept: analysis.UniformKept(s)}, bad
	}
	if err != nil {
		return out, err
	}
	every, err := p.count("every", defaultEvery)
	if err != nil {
		return out, err
	}
	start, err := p.fraction("start", 0)
	if err != nil {
		return out, err
	}
	end, err := p.fraction("end", defaultEnd)
	if err != nil {
		return out, err
	}
	steps := max(1, seqs/batch)
	method := p.values["method"]
	if out.Name == "" {
		out.Name = method
		if method == "" {
			out.Name = fmt.Sprintf("sparsity %g", scenario.Sparsity)
		}
	}
	out.Stretches = analysis.Static(seqs, scenario.Sparsity, scenario.Kept)
	switch method {
	case "", "static", "set":
		// SET grows at random: no gradient beyond the kept weights'.
	case "rigl":
		updates := (int64(end*float64(steps)) - int64(start*float64(steps))) / every
		out.DenseGradients = min(updates*batch, seqs)
	case "gmp":
		from, err := p.fraction("from", 0)
		if err != nil {
			return out, err
		}
		curve := p.values["curve"]
		if curve == "" {
			curve = analysis.CurveCubic
		}
		out.Stretches, err = analysis.Gradual(curve, from, scenario.Sparsity, steps, batch,
			int64(start*float64(steps)), int64(end*float64(steps)), every)
		if err != nil {
			return out, &usageError{err: fmt.Errorf("flops report: %s: %w", p.text, err)}
		}
		// What is left of a last, smaller batch.
		if rest := seqs - steps*batch; rest != 0 {
			out.Stretches[len(out.Stretches)-1].Sequences += rest
		}
	default:
		return out, usageErrorf("flops report: %s: method %q is none of static, set, rigl, gmp", p.text, method)
	}
	return out, nil
}

// flopsPlan prices the phases of --plan and --phase.
func (a *app) flopsPlan(shape analysis.Shape, conventions []analysis.Convention, flags flopsFlags) error {
	if flags.tokens != 0 || len(flags.sparsities)+len(flags.finetunes) > 0 || flags.mask != "" {
		return usageErrorf("flops report: --plan and --phase exclude --tokens, --sparsity, --mask and --finetune: say them in the phases")
	}
	specs, err := flags.specs()
	if err != nil {
		return err
	}
	var phases []analysis.Phase
	for _, spec := range specs {
		p, err := spec.phase(shape, flags.seqLen, flags.batch)
		if err != nil {
			return err
		}
		phases = append(phases, p)
	}
	var plans []*analysis.PlanCost
	for _, convention := range conventions {
		plan, err := analysis.PlanFLOPs(shape, convention, phases)
		if err != nil {
			return err
		}
		plans = append(plans, plan)
	}
	switch {
	case flags.format == formatJSON && len(plans) == 1:
		return a.printJSON(plans[0])
	case flags.format == formatJSON:
		return a.printJSON(map[string]any{"conventions": plans})
	}
	return a.printPlans(flags, plans)
}

// printPlans writes a row for every phase and one for the sum.
func (a *app) printPlans(flags flopsFlags, plans []*analysis.PlanCost) error {
	lines := [][]string{{"phase", "convention", "tokens", "sparsity, mean", "at the end", "FLOPs", "of them dense gradients", "dense FLOPs", "reduction", "parameters, mean"}}
	for _, plan := range plans {
		name := string(plan.Convention)
		for _, p := range plan.Phases {
			lines = append(lines, []string{p.Name, name, shortCount(p.Tokens), fmt.Sprintf("%.4g", p.Sparsity), fmt.Sprintf("%.4g", p.FinalSparsity),
				shortFLOPs(p.FLOPs, 5), shortFLOPs(p.DenseGradients, 4), shortFLOPs(p.DenseFLOPs, 5),
				fmt.Sprintf("%.3f", flopRatio(p.FLOPs, p.DenseFLOPs)), shortCount(int64(p.AverageParameters))})
		}
		lines = append(lines, []string{"sum", name, shortCount(plan.Tokens), "", "", shortFLOPs(plan.FLOPsTotal, 5), "",
			shortFLOPs(plan.DenseFLOPsTotal, 5), fmt.Sprintf("%.3f", plan.Reduction), shortCount(int64(plan.AverageParameters))})
	}
	if flags.format == formatTable {
		fmt.Fprintf(a.stdout, "model:       %s: %s parameters\n", flags.model, shortCount(plans[0].Parameters))
		for _, plan := range plans {
			fmt.Fprintf(a.stdout, "convention:  %s: %s\n", plan.Convention, plan.Convention.Describe())
		}
		fmt.Fprintln(a.stdout)
	}
	return printLines(a.stdout, flags.format, lines)
}
