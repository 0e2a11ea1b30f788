package metrics

import (
	"fmt"
	"slices"
	"strings"
)

// ProfileOptions choose between the variants of a profile's script.
type ProfileOptions struct {
	// Meteor computes METEOR; without it the profile leaves METEOR out.
	Meteor *Meteor
	// NIST is "perl" (the default), mteval-v13a-sig.pl, or "python", pymteval.py;
	// it decides on the BLEU of profile e2e too.
	NIST string
	// PTB is the tokenizer of profile e2e's ROUGE-L, CIDEr and METEOR; PTB2025 by
	// default.
	PTB PTBVersion
	// BLEU are the options of profile sacrebleu.
	BLEU BLEUOptions
	// Metrics are those to compute, all by default; profile sacrebleu: "bleu".
	Metrics []string
}

// Result is what a profile computed.
type Result struct {
	Profile   string
	Signature string // of the whole; every score has its own
	Scores    []Score
	Segments  int
}

// profile is the metrics of one published script, in the order of its output.
type profile struct {
	metrics []string
	// defaults are the metrics without a choice; nil: all.
	defaults []string
	score    func(metric string, hyps []string, refs [][]string, o *ProfileOptions) (Score, error)
	// prepare changes the texts before all metrics but BLEU, NIST and TER.
	prepare func(hyps []string, refs [][]string, o *ProfileOptions) ([]string, [][]string, error)
	// blank allows a segment whose references are all blank.
	blank bool
}

var profileTable = map[string]profile{
	"e2e":             {metrics: []string{"bleu", "nist", "meteor", "rouge_l", "cider"}, score: scoreE2E, prepare: prepareE2E},
	"webnlg":          {metrics: []string{"bleu", "meteor", "ter"}, score: scoreWebNLG},
	"dart":            {metrics: []string{"bleu", "meteor", "ter"}, score: scoreDART},
	"generation-eval": {metrics: []string{"bleu", "meteor", "ter"}, score: scoreGenerationEval, prepare: prepareNLTK},
	"sacrebleu":       {metrics: []string{"bleu", "chrf", "chrf++", "ter"}, defaults: []string{"bleu"}, score: scoreSacreBLEU, blank: true},
}

// Profiles lists the values of ScoreProfile's name:
//
//   - e2e: measure_scores.py of the E2E challenge;
//   - webnlg: the scripts of the WebNLG challenge of 2017;
//   - dart: run_eval_on_dart.sh of DART;
//   - generation-eval: eval.py of the WebNLG challenge of 2020, which the LoRA
//     pipeline runs on WebNLG and DART;
//   - sacrebleu: the command sacrebleu.
func Profiles() []string { return []string{"e2e", "webnlg", "dart", "sacrebleu", "generation-eval"} }

// NISTVariants lists the values of ProfileOptions.NIST.
func NISTVariants() []string { return []string{"perl", "python"} }

// ProfileMetrics lists the metrics of a profile; nil if there is no such profile.
func ProfileMetrics(name string) []string { return slices.Clone(profileTable[name].metrics) }

// ScoreProfile scores hyps, where refs[i] are the references of hyps[i], with the
// metrics, tokens, letter case and treatment of blank references of the script
// that the profile names. It returns an error for what checkCorpus refuses, for a
// segment whose references are all blank (but for sacrebleu), and wrong options.
func ScoreProfile(name string, hyps []string, refs [][]string, o ProfileOptions) (Result, error) {
	p, ok := profileTable[name]
	if !ok {
		return Result{}, fmt.Errorf("metrics: profile %q is none of %s", name, strings.Join(Profiles(), ", "))
	}
	if err := p.check(name, hyps, refs, &o); err != nil {
		return Result{}, err
	}
	result := Result{Profile: name, Segments: len(hyps)}
	preparedHyps, preparedRefs := hyps, refs
	if p.prepare != nil && slices.ContainsFunc(o.Metrics, isPrepared) {
		var err error
		if preparedHyps, preparedRefs, err = p.prepare(hyps, refs, &o); err != nil {
			return Result{}, err
		}
	}
	for _, metric := range o.Metrics {
		h, r := hyps, refs
		if isPrepared(metric) {
			h, r = preparedHyps, preparedRefs
		}
		s, err := p.score(metric, h, r, &o)
		if err != nil {
			return Result{}, err
		}
		result.Scores = append(result.Scores, s)
	}
	result.Signature = o.signature(name, refs)
	if name == "sacrebleu" {
		result.Signature = result.Scores[0].Signature
	}
	return result, nil
}

// isPrepared reports whether a metric is computed from the prepared texts.
func isPrepared(metric string) bool {
	return metric == "meteor" || metric == "rouge_l" || metric == "cider"
}

// check fills in the defaults and reports what is wrong.
func (p profile) check(name string, hyps []string, refs [][]string, o *ProfileOptions) error {
	if o.NIST == "" {
		o.NIST = "perl"
	}
	if o.PTB == "" {
		o.PTB = PTB2025
	}
	if !slices.Contains(NISTVariants(), o.NIST) {
		return fmt.Errorf("metrics: %s: NIST variant %q is none of %s", name, o.NIST, strings.Join(NISTVariants(), ", "))
	}
	if len(o.Metrics) == 0 {
		if o.Metrics = p.defaults; o.Metrics == nil {
			o.Metrics = slices.DeleteFunc(slices.Clone(p.metrics), func(m string) bool { return m == "meteor" && o.Meteor == nil })
		}
	}
	for _, metric := range o.Metrics {
		if !slices.Contains(p.metrics, metric) {
			return fmt.Errorf("metrics: %s: metric %q is none of %s", name, metric, strings.Join(p.metrics, ", "))
		}
		if metric == "meteor" && o.Meteor == nil {
			return fmt.Errorf("metrics: %s: METEOR without its tables", name)
		}
	}
	if err := checkCorpus(name, hyps, refs); err != nil {
		return err
	}
	for i, list := range refs {
		if !p.blank && !slices.ContainsFunc(list, func(s string) bool { return strings.TrimSpace(s) != "" }) {
			return fmt.Errorf("metrics: %s: segment %d has no reference, %d blank ones", name, i+1, len(list))
		}
	}
	return nil
}

// signature names the choices of a whole profile.
func (o *ProfileOptions) signature(name string, refs [][]string) string {
	fields := []string{name, "nrefs:" + countReferences(refs)}
	if name == "e2e" {
		fields = append(fields, "mteval:"+o.NIST, "ptb:"+string(o.PTB))
	}
	if slices.Contains(o.Metrics, "meteor") {
		fields = append(fields, "meteor:"+strings.Join(o.Meteor.Stages(), ","))
	}
	return strings.Join(append(fields, "version:"+version), "|")
}

// prepareE2E tokenises as coco-caption does.
func prepareE2E(hyps []string, refs [][]string, o *ProfileOptions) ([]string, [][]string, error) {
	return ptbCorpus(hyps, refs, o.PTB)
}

func scoreE2E(metric string, hyps []string, refs [][]string, o *ProfileOptions) (Score, error) {
	perl := o.NIST == "perl"
	var s Score
	var err error
	switch {
	case metric == "bleu" && perl:
		return MTEvalBLEU(hyps, refs)
	case metric == "bleu":
		return PymtevalBLEU(hyps, refs)
	case metric == "nist" && perl:
		return MTEvalNIST(hyps, refs)
	case metric == "nist":
		return PymtevalNIST(hyps, refs)
	case metric == "rouge_l":
		s, err = RougeL(hyps, refs)
	case metric == "cider":
		s, err = CIDEr(hyps, refs)
	default:
		s, err = o.Meteor.Score(hyps, refs)
		s.Signature = strings.Replace(s.Signature, "|norm:", "|tok:none|norm:", 1)
	}
	s.Signature = strings.Replace(s.Signature, "tok:none", "case:lc|tok:ptb-"+string(o.PTB), 1)
	return s, err
}

func scoreWebNLG(metric string, hyps []string, refs [][]string, o *ProfileOptions) (Score, error) {
	switch metric {
	case "bleu":
		return MultiBLEU(hyps, refs, true)
	case "ter":
		return Tercom(hyps, TercomReferences(refs))
	}
	return o.Meteor.Score(hyps, refs)
}

// scoreDART differs from scoreWebNLG in the letter case of BLEU.
func scoreDART(metric string, hyps []string, refs [][]string, o *ProfileOptions) (Score, error) {
	if metric == "bleu" {
		return MultiBLEU(hyps, refs, false)
	}
	return scoreWebNLG(metric, hyps, refs, o)
}

// prepareNLTK joins the tokens of NLTK with spaces, as METEOR gets them.
func prepareNLTK(hyps []string, refs [][]string, _ *ProfileOptions) ([]string, [][]string, error) {
	c := tokenizeCorpus(hyps, refs, nltkTokens)
	outHyps, outRefs := make([]string, len(hyps)), make([][]string, len(refs))
	for i := range c.hyps {
		outHyps[i] = strings.Join(c.hyps[i], " ")
		for _, ref := range c.refs[i] {
			outRefs[i] = append(outRefs[i], strings.Join(ref, " "))
		}
	}
	return outHyps, outRefs, nil
}

func scoreGenerationEval(metric string, hyps []string, refs [][]string, o *ProfileOptions) (Score, error) {
	switch metric {
	case "bleu":
		return MultiBLEUDetok(hyps, refs, false)
	case "ter":
		return PyTER(hyps, refs)
	}
	s, err := o.Meteor.Score(hyps, refs)
	s.Signature = strings.Replace(s.Signature, "|norm:", "|tok:nltk-like|norm:", 1)
	return s, err
}

func scoreSacreBLEU(metric string, hyps []string, refs [][]string, o *ProfileOptions) (Score, error) {
	switch metric {
	case "chrf":
		return CHRF(hyps, refs, CHRFOptions{Lowercase: o.BLEU.Lowercase})
	case "chrf++":
		return CHRF(hyps, refs, CHRFOptions{WordOrder: 2, Lowercase: o.BLEU.Lowercase})
	case "ter":
		return TER(hyps, refs, TEROptions{})
	}
	return scoreBLEU(hyps, refs, o.BLEU)
}

// RepairE2E repairs the encoding errors of system outputs that measure_scores.py
// of the E2E challenge repairs in tables (CSV and TSV), and drops byte order marks.
func RepairE2E(text string) string { return repairE2E.Replace(text) }

var repairE2E = strings.NewReplacer("\ufeff", "", "Ł", "£", "Â£", "£", "Ã©", "é", "ã©", "é")
