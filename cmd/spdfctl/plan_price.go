package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/formats/nlg"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// planPrice is what "run --dry-run --json" prints.
type planPrice struct {
	Convention analysis.Convention `json:"convention"`
	FLOPRate   float64             `json:"flop_rate,omitempty"` // given, not measured
	Phases     []phasePrice        `json:"phases"`
	FLOPs      *big.Int            `json:"flops_total"`
	DenseFLOPs *big.Int            `json:"dense_flops_total"`
	Seconds    float64             `json:"seconds_total"`
}

// phasePrice is what a phase takes at most: no early stop, no text that ends
// before its limit.
type phasePrice struct {
	Phase      string   `json:"phase"`
	Kind       string   `json:"kind"`
	Runs       int      `json:"runs"`   // variants of the grid
	Tokens     int64    `json:"tokens"` // of all runs; of a decode those of the texts and beams
	FLOPs      *big.Int `json:"flops"`
	DenseFLOPs *big.Int `json:"dense_flops"`
	Seconds    float64  `json:"seconds"`
}

// pricedModel is the model that a phase leaves.
type pricedModel struct {
	config gpt.Config
	spec   phaseSpec // mask or sparsity of what is left; neither: dense
}

// pricer prices a plan.
type pricer struct {
	plan   *plan
	rate   float64 // FLOP/s; 0: measure
	models map[string]pricedModel
	probes map[string]float64 // seconds, by what was measured
}

func (a *app) pricePlan(ctx context.Context, p *plan, rate float64) error {
	r := &pricer{plan: p, rate: rate, models: map[string]pricedModel{}, probes: map[string]float64{}}
	sum := planPrice{Convention: analysis.SPDF, FLOPRate: rate, FLOPs: new(big.Int), DenseFLOPs: new(big.Int)}
	bar := a.startProgress("run", "phases priced", int64(len(p.phases)))
	for i := range p.phases {
		x := &p.phases[i]
		price, err := r.phase(ctx, x)
		if err != nil {
			var at *lineError
			if !errors.As(err, &at) {
				err = &lineError{x.line, err}
			}
			return fmt.Errorf("run: %s: phase %q: %w", p.path, x.Name, err)
		}
		sum.Phases = append(sum.Phases, price)
		sum.FLOPs.Add(sum.FLOPs, price.FLOPs)
		sum.DenseFLOPs.Add(sum.DenseFLOPs, price.DenseFLOPs)
		sum.Seconds += price.Seconds
		bar.Set(int64(i+1), "")
	}
	a.closeProgress()
	if a.json {
		return a.printJSON(sum)
	}
	return a.printPrice(sum)
}

func (a *app) printPrice(sum planPrice) error {
	how := "measured here on models of one and two blocks"
	if sum.FLOPRate > 0 {
		how = fmt.Sprintf("at %.4g FLOP/s", sum.FLOPRate)
	}
	fmt.Fprintf(a.stdout, "convention:  %s: %s\ntime:        %s; tokenizer, data, validation, checkpoints and scores not counted\n\n",
		sum.Convention, sum.Convention.Describe(), how)
	lines := [][]string{{"phase", "kind", "runs", "tokens", "FLOPs", "dense FLOPs", "time"}}
	for _, p := range sum.Phases {
		if p.FLOPs.Sign() == 0 {
			lines = append(lines, []string{p.Phase, p.Kind, "1", "", "", "", ""})
			continue
		}
		lines = append(lines, []string{p.Phase, p.Kind, fmt.Sprint(p.Runs), shortCount(p.Tokens),
			shortFLOPs(p.FLOPs, 5), shortFLOPs(p.DenseFLOPs, 5), longTime(p.Seconds)})
	}
	lines = append(lines, []string{"sum", "", "", "", shortFLOPs(sum.FLOPs, 5), shortFLOPs(sum.DenseFLOPs, 5), longTime(sum.Seconds)})
	return printLines(a.stdout, formatTable, lines)
}

// longTime prints seconds, or days where hours would not be read.
func longTime(seconds float64) string {
	if seconds >= 48*3600 {
		return fmt.Sprintf("%.1f days", seconds/(24*3600))
	}
	d := time.Duration(seconds * float64(time.Second))
	if seconds < 10 {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// phase prices one phase and notes the model that it leaves.
func (r *pricer) phase(ctx context.Context, x *phase) (phasePrice, error) {
	price := phasePrice{Phase: x.Name, Kind: x.Kind, FLOPs: new(big.Int), DenseFLOPs: new(big.Int)}
	for i, v := range x.variants() {
		o, err := x.options(v)
		if err != nil {
			return price, err
		}
		price.Runs++
		var left pricedModel
		switch x.Kind {
		case "pretrain":
			left, err = r.pretrain(ctx, x, o, &price)
		case "finetune":
			left, err = r.finetune(ctx, x, o, &price)
		case "densify":
			if left, err = r.from(x.From, false); err == nil {
				left.spec = phaseSpec{x.Name, map[string]string{}}
			}
		case "decode":
			err = r.decode(ctx, x, o, &price)
		case "loss":
			err = r.loss(ctx, x, o, &price)
		}
		if err != nil {
			return price, err
		}
		// Which variant will be picked is not known: all have the first one's shape.
		if i == 0 {
			r.models[x.Name] = left
		}
		if x.Pick == "bleu" {
			d := x.decoding()
			d.Expect, d.From = planExpect{Examples: x.Expect.Texts}, x.Name
			if o, err = d.options(variant{settings: x.decode}); err == nil {
				err = r.decode(ctx, d, o, &price)
			}
			if err != nil {
				return price, err
			}
		}
	}
	return price, nil
}

// from returns the model that from names: that of an earlier phase, or one on
// disk, with its masks if they are kept.
func (r *pricer) from(name string, keepMask bool) (pricedModel, error) {
	if m, ok := r.models[name]; ok {
		if !keepMask {
			m.spec = phaseSpec{m.spec.text, map[string]string{}}
		}
		return m, nil
	}
	c, err := gpt.ReadConfig(name)
	if err != nil {
		return pricedModel{}, err
	}
	m := pricedModel{c, phaseSpec{name, map[string]string{}}}
	if path := ownMasks(name); keepMask && path != "" {
		m.spec.values["mask"] = path
	}
	return m, nil
}

// vocabulary returns the size of the vocabulary of a pre-training: that of the
// settings or of the preset, or of the tokenizer that the plan makes or finds.
func (r *pricer) vocabulary(x *phase, o *options) (int, error) {
	if o.pretrain.VocabSize > 0 {
		return o.pretrain.VocabSize, nil
	}
	if x.Expect.Vocab > 0 {
		return x.Expect.Vocab, nil
	}
	if o.pretrain.Model != "" {
		return 1, nil // the preset has its own
	}
	cfg := o.pretrain
	if name, ok := strings.CutPrefix(cfg.Data[0].Path, "@"); ok && cfg.Tokenizer == "" {
		for _, s := range r.plan.find(name).settings {
			if s.key == "tokenizer" {
				cfg.Tokenizer = s.values[0]
			}
		}
	}
	if name, ok := strings.CutPrefix(cfg.Tokenizer, "@"); ok {
		tok := r.plan.find(name)
		t, err := tok.options(variant{settings: tok.settings})
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(t.flags.Lookup("vocab-size").Value.String())
	}
	ids, err := idSpaceOf(cfg)
	if err != nil {
		return 0, fmt.Errorf("expect.vocab is missing, and the tokenizer is not there to ask: %w", err)
	}
	return ids.Size, nil
}

func (r *pricer) pretrain(ctx context.Context, x *phase, o *options, price *phasePrice) (pricedModel, error) {
	cfg := o.pretrain
	vocab, err := r.vocabulary(x, o)
	if err != nil {
		return pricedModel{}, err
	}
	c, err := cfg.modelConfig(vocab)
	if err != nil {
		return pricedModel{}, err
	}
	if err := cfg.resolve(c); err != nil {
		return pricedModel{}, err
	}
	static := map[string]string{}
	if cfg.Mask != "" {
		static["mask"] = cfg.Mask
	} else if s, err := cfg.sparsity(); err == nil && s.Float64() > 0 {
		static["sparsity"] = cfg.Sparsity
	}
	steps := cfg.MaxSteps
	if cfg.DensifyAt > 0 {
		steps = cfg.DensifyAt
	}
	values := map[string]string{"method": cfg.Dynamic, "every": strconv.Itoa(cfg.MaskUpdateEvery), "curve": cfg.SparsitySchedule,
		"from": strconv.FormatFloat(cfg.InitialSparsity, 'g', -1, 64), "start": fractionOf(cfg.MaskUpdateStart, steps)}
	if cfg.MaskUpdateStop > 0 {
		values["end"] = fractionOf(cfg.MaskUpdateStop, steps)
	}
	maps.Copy(values, static)
	left := pricedModel{c, phaseSpec{x.Name, static}}
	job := trainJob{model: c, spec: phaseSpec{x.Name, values}, config: cfg.Config}
	if err := r.train(ctx, job, steps, price); err != nil {
		return left, err
	}
	if cfg.DensifyAt > 0 {
		left.spec = phaseSpec{x.Name, map[string]string{}}
		job.spec = left.spec
		return left, r.train(ctx, job, cfg.MaxSteps-cfg.DensifyAt, price)
	}
	return left, nil
}

func fractionOf(step, steps int) string {
	return strconv.FormatFloat(math.Min(1, float64(step)/float64(steps)), 'g', -1, 64)
}

// train adds the price of steps of a job.
func (r *pricer) train(ctx context.Context, job trainJob, steps int, price *phasePrice) error {
	shape := analysis.ShapeOf(job.model)
	length, batch := int64(job.config.SeqLen), int64(job.config.BatchSize)
	spec := phaseSpec{job.spec.text, map[string]string{"seqs": strconv.FormatInt(int64(steps)*batch, 10)}}
	maps.Copy(spec.values, job.spec.values)
	phase, err := spec.phase(shape, length, batch)
	if err != nil {
		return err
	}
	cost, err := analysis.PlanFLOPs(shape, analysis.SPDF, []analysis.Phase{phase})
	if err != nil {
		return err
	}
	flops := cost.FLOPsTotal
	if job.lora != nil {
		one, err := analysis.LoRATrainingFLOPs(job.model, job.config.SeqLen, nil, *job.lora)
		if err != nil {
			return err
		}
		flops, _ = new(big.Float).SetFloat64(one * float64(steps) * float64(batch)).Int(nil)
	}
	price.Tokens += cost.Tokens
	price.FLOPs.Add(price.FLOPs, flops)
	price.DenseFLOPs.Add(price.DenseFLOPs, cost.DenseFLOPsTotal)
	job.sparsity = cost.Phases[0].Sparsity
	return r.addTime(ctx, price, flops, job, job.model, float64(steps)*float64(batch))
}

func asFloat(x *big.Int) float64 {
	f, _ := new(big.Float).SetInt(x).Float64()
	return f
}

func (r *pricer) finetune(ctx context.Context, x *phase, o *options, price *phasePrice) (pricedModel, error) {
	cfg := o.finetune
	m, err := r.from(x.From, cfg.KeepMask)
	if err != nil {
		return m, err
	}
	if cfg.SeqLen == 0 {
		cfg.SeqLen = tuneSeqLen(m.config)
	}
	if cfg.SeqLen > m.config.NCtx {
		return m, fmt.Errorf("seq_len is %d, the model has %d positions", cfg.SeqLen, m.config.NCtx)
	}
	examples := x.Expect.Examples
	if examples == 0 && cfg.MaxSteps == 0 && cfg.MaxTokens == 0 {
		if examples, err = countTexts(cfg.Task, cfg.Data); err != nil {
			return m, err
		}
	}
	if err := cfg.resolve(examples); err != nil {
		return m, err
	}
	if x.Expect.Tokens > 0 {
		cfg.SeqLen = min(cfg.SeqLen, x.Expect.Tokens)
	}
	job := trainJob{model: m.config, spec: m.spec, config: cfg.Config}
	if cfg.LoRARank > 0 {
		l := cfg.lora()
		job.lora = &l
	}
	return m, r.train(ctx, job, cfg.MaxSteps, price)
}

// countTexts returns the number of texts of a set that is there already.
func countTexts(task, path string) (int, error) {
	set, err := readSet(task, path)
	if err != nil {
		return 0, fmt.Errorf("expect.examples is missing, and the data is not there to count: %w", err)
	}
	return set.Texts(), nil
}

// defaultPrompt is the length of a prompt where expect.tokens is missing.
const defaultPrompt = 64

func (r *pricer) decode(ctx context.Context, x *phase, o *options, price *phasePrice) error {
	m, err := r.from(x.From, true)
	if err != nil {
		return err
	}
	examples, prompt := x.Expect.Examples, x.Expect.Tokens
	if prompt == 0 {
		prompt = defaultPrompt
	}
	if examples == 0 {
		set, err := nlg.ReadSet(o.nlg.task, o.nlg.path)
		if err != nil {
			return fmt.Errorf("the number of texts to decode is missing in expect, and the data is not there to count: %w", err)
		}
		examples = len(nlg.Group(set.Examples))
	}
	prompt = min(prompt, m.config.NCtx)
	tokens := min(o.nlg.search.MaxTokens, m.config.NCtx-prompt+1)
	width := max(o.nlg.search.Width, 1)
	price.Tokens += int64(examples) * int64(width) * int64(tokens)
	flops, sparsity, err := r.forward(x, m, min(prompt+tokens, m.config.NCtx), examples*width, price)
	if err != nil {
		return err
	}
	job := decodeJob{sparsity: sparsity, search: o.nlg.search, prompt: prompt}
	return r.addTime(ctx, price, flops, job, m.config, float64(examples)*float64(tokens))
}

// forward adds the FLOPs of forward passes over sequences of length tokens, and
// returns them with the sparsity of the model.
func (r *pricer) forward(x *phase, m pricedModel, length, sequences int, price *phasePrice) (*big.Int, float64, error) {
	shape := analysis.ShapeOf(m.config)
	spec := phaseSpec{x.Name, map[string]string{"seqs": "1"}}
	maps.Copy(spec.values, m.spec.values)
	phase, err := spec.phase(shape, int64(length), 1)
	if err != nil {
		return nil, 0, err
	}
	count := func(kept analysis.Kept) (*big.Int, error) {
		rows, err := shape.Ledger(analysis.SPDF, length, kept)
		sum := new(big.Int)
		for _, row := range rows {
			sum.Add(sum, row.Forward)
		}
		return sum.Mul(sum, big.NewInt(int64(sequences))), err
	}
	flops, err := count(phase.Stretches[0].Kept)
	if err != nil {
		return nil, 0, err
	}
	dense, err := count(nil)
	if err != nil {
		return nil, 0, err
	}
	price.FLOPs.Add(price.FLOPs, flops)
	price.DenseFLOPs.Add(price.DenseFLOPs, dense)
	return flops, phase.Stretches[0].Sparsity, nil
}

// loss adds the price of predicting a set.
func (r *pricer) loss(ctx context.Context, x *phase, o *options, price *phasePrice) error {
	m, err := r.from(x.From, true)
	if err != nil {
		return err
	}
	length := o.loss.seqLen
	if length == 0 {
		length = tuneSeqLen(m.config)
	}
	if x.Expect.Tokens > 0 {
		length = min(length, x.Expect.Tokens)
	}
	texts := x.Expect.Examples
	if texts == 0 {
		if texts, err = countTexts(o.loss.task, o.loss.path); err != nil {
			return err
		}
	}
	price.Tokens += int64(texts) * int64(length)
	flops, sparsity, err := r.forward(x, m, length, texts, price)
	if err != nil {
		return err
	}
	return r.addTime(ctx, price, flops, lossJob{sparsity, length, o.loss.precision}, m.config, float64(texts))
}

// pricedJob is work whose time is asked for: String tells jobs apart that take different
// time, probe measures a unit of it on a model of shape c, in seconds.
type pricedJob interface {
	fmt.Stringer
	probe(ctx context.Context, c gpt.Config) (float64, error)
}

// addTime adds the time of units of a job that takes flops: at the given rate, or
// as measured.
func (r *pricer) addTime(ctx context.Context, price *phasePrice, flops *big.Int, j pricedJob, c gpt.Config, units float64) error {
	if r.rate > 0 {
		price.Seconds += asFloat(flops) / r.rate
		return nil
	}
	perUnit, err := r.measure(ctx, j, c)
	price.Seconds += perUnit * units
	return err
}

// measure returns the seconds of a unit of a job, extrapolated from the first one
// and two blocks of the model unless it has no more.
func (r *pricer) measure(ctx context.Context, j pricedJob, c gpt.Config) (float64, error) {
	key := fmt.Sprintf("%+v %s", c, j)
	if seconds, ok := r.probes[key]; ok {
		return seconds, nil
	}
	var times []float64
	for layers := range min(c.NLayer, 2) {
		small := c
		small.NLayer = layers + 1
		if c.NLayer == 2 && layers == 0 {
			continue // it is measured as it is
		}
		seconds, err := j.probe(ctx, small)
		if err != nil {
			return 0, err
		}
		times = append(times, seconds)
	}
	seconds := slices.Max(times)
	if len(times) == 2 {
		seconds += max(times[1]-times[0], 0) * float64(c.NLayer-2)
	}
	r.probes[key] = seconds
	return seconds, nil
}
