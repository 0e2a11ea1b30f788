package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// planFile is a plan as it is written.
type planFile struct {
	Out    string      `yaml:"out"`    // directory of the plan; -o wins
	Shared yaml.Node   `yaml:"shared"` // a place for anchors
	Phases []planPhase `yaml:"phases"`
}

// planPhase is one phase as it is written.
type planPhase struct {
	Name     string     `yaml:"name"`
	Kind     string     `yaml:"kind"`
	From     string     `yaml:"from"`     // an earlier phase, or a path
	In       []string   `yaml:"in"`       // files of tokenizer and prepare, or patterns of them
	Settings yaml.Node  `yaml:"settings"` // of the command, as in its configuration file
	Grid     yaml.Node  `yaml:"grid"`     // settings with several values, all combinations of which are run
	Pick     string     `yaml:"pick"`     // of a grid: val_loss or bleu
	Decode   yaml.Node  `yaml:"decode"`   // settings of "eval nlg" for pick: bleu
	Expect   planExpect `yaml:"expect"`
}

// planExpect is what --dry-run prices a phase at, where the data cannot say it.
type planExpect struct {
	Examples int `yaml:"examples"` // of the data: texts to train on, or to decode
	Tokens   int `yaml:"tokens"`   // of an example to train on; of a prompt to decode
	Texts    int `yaml:"texts"`    // that a grid decodes per variant
	Vocab    int `yaml:"vocab"`    // of the tokenizer
}

// phaseKind says which command a kind of phase runs.
type phaseKind struct {
	command []string
	from    string // the kinds that from may name; "": it has none
	flag    string // of from; "": it is an argument
	output  string // below the phase's directory, what -o names and later phases read; "": the directory
	// paths are the settings that name inputs, with the kinds that "@name" may
	// stand for.
	paths   map[string]string
	resumes bool // the command takes up what it left
	prints  bool // the command writes no file: what it prints is kept as resultFile
}

// resultFile holds what the command of a phase printed.
const resultFile = "result.json"

// hypFile holds the texts of a decode phase.
const hypFile = "hyp.txt"

// models are the kinds that leave a model.
const models = "pretrain densify finetune"

var phaseKinds = map[string]phaseKind{
	"tokenizer": {command: []string{"tokenizer", "train"}},
	"prepare":   {command: []string{"data", "prepare"}, paths: map[string]string{"tokenizer": "tokenizer", "val": ""}},
	"pretrain":  {command: []string{"pretrain"}, paths: map[string]string{"data": "prepare", "val_data": "prepare", "tokenizer": "tokenizer", "mask": ""}, resumes: true},
	"densify":   {command: []string{"densify"}, from: "pretrain finetune"},
	"finetune":  {command: []string{"finetune"}, from: models, flag: "from", paths: map[string]string{"data": "", "dev": ""}, resumes: true},
	"decode":    {command: []string{"eval", "nlg"}, from: models, output: hypFile, paths: map[string]string{"data": "", "meteor_dir": ""}},
	"loss":      {command: []string{"eval", "loss"}, from: models, output: resultFile, paths: map[string]string{"data": ""}, prints: true},
	"score":     {command: []string{"score"}, from: "decode", flag: "hyp", output: resultFile, paths: map[string]string{"ref": "", "against": "decode", "meteor_dir": ""}, prints: true},
}

// setting is one setting of a phase. A list has several values.
type setting struct {
	key    string
	values []string
	line   int
}

// phase is a phase that has been checked.
type phase struct {
	planPhase
	line     int // where it stands
	kind     phaseKind
	settings []setting
	grid     []setting // each with all its values
	decode   []setting
}

// plan is a plan that has been checked.
type plan struct {
	path, out string
	phases    []phase
}

var phaseName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// maxGrid bounds the combinations of a grid.
const maxGrid = 1 << 10

// readPlan reads and checks a plan. Every setting is tried on the flags of its
// command, so that a phase cannot fail for a name or a number after days of
// training; an error names the line.
func readPlan(path string) (*plan, error) {
	var file planFile
	if err := readYAML(path, &file); err != nil {
		return nil, err
	}
	p := &plan{path: path, out: file.Out}
	if len(file.Phases) == 0 {
		return nil, fmt.Errorf("run: %s: no phases", path)
	}
	lines, err := phaseLines(path)
	if err != nil {
		return nil, err
	}
	for i, raw := range file.Phases {
		x, err := p.check(raw, lines[i])
		var at *lineError
		if err != nil && !errors.As(err, &at) {
			err = &lineError{lines[i][""], err}
		}
		if err != nil {
			return nil, fmt.Errorf("run: %s: phase %q: %w", path, raw.Name, err)
		}
		p.phases = append(p.phases, x)
	}
	return p, nil
}

// lineError is what is wrong in one line of a plan.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *lineError) Unwrap() error { return e.err }

func lineErrorf(line int, format string, args ...any) error {
	return &lineError{line, fmt.Errorf(format, args...)}
}

// phaseLines returns the lines of the keys of every phase, and under "" that of
// the phase.
func phaseLines(path string) ([]map[string]int, error) {
	var file struct {
		Out    yaml.Node   `yaml:"out"`
		Shared yaml.Node   `yaml:"shared"`
		Phases []yaml.Node `yaml:"phases"`
	}
	if err := readYAML(path, &file); err != nil {
		return nil, err
	}
	list := make([]map[string]int, len(file.Phases))
	for i, node := range file.Phases {
		list[i] = map[string]int{"": node.Line}
		for j := 0; j+1 < len(node.Content); j += 2 {
			list[i][node.Content[j].Value] = node.Content[j].Line
		}
	}
	return list, nil
}

// find returns the phase of that name, or nil.
func (p *plan) find(name string) *phase {
	for i := range p.phases {
		if p.phases[i].Name == name {
			return &p.phases[i]
		}
	}
	return nil
}

// check checks a phase, whose keys stand in lines.
func (p *plan) check(raw planPhase, lines map[string]int) (phase, error) {
	kind, ok := phaseKinds[raw.Kind]
	x := phase{planPhase: raw, line: lines[""], kind: kind}
	wrong := func(key, format string, args ...any) (phase, error) {
		line := lines[key]
		if line == 0 {
			line = x.line
		}
		return x, lineErrorf(line, format, args...)
	}
	switch {
	case !phaseName.MatchString(raw.Name):
		return wrong("name", "the name is not of lower-case letters, digits, dashes and underscores")
	case p.find(raw.Name) != nil:
		return wrong("name", "an earlier phase has this name")
	case !ok:
		return wrong("kind", "kind is %q, none of %s", raw.Kind, strings.Join(slices.Sorted(maps.Keys(phaseKinds)), ", "))
	case kind.from == "" && raw.From != "":
		return wrong("from", "kind %s has no from", raw.Kind)
	case kind.from != "" && raw.From == "":
		return wrong("from", "from is missing: an earlier phase or a path")
	case (raw.Kind == "tokenizer" || raw.Kind == "prepare") != (len(raw.In) > 0):
		return wrong("in", "in names the files of kinds tokenizer and prepare: it has %d", len(raw.In))
	case raw.Pick != "" && raw.Pick != "val_loss" && raw.Pick != "bleu":
		return wrong("pick", "pick is %q, neither val_loss nor bleu", raw.Pick)
	case (raw.Pick == "") != raw.Grid.IsZero():
		return wrong("grid", "grid and pick belong together")
	case !raw.Grid.IsZero() && raw.Kind != "pretrain" && raw.Kind != "finetune":
		return wrong("grid", "kind %s has no grid", raw.Kind)
	case (raw.Pick == "bleu") == raw.Decode.IsZero():
		return wrong("decode", "pick: bleu and decode belong together")
	case min(raw.Expect.Examples, raw.Expect.Tokens, raw.Expect.Texts, raw.Expect.Vocab) < 0 || max(raw.Expect.Examples, raw.Expect.Tokens, raw.Expect.Texts, raw.Expect.Vocab) > maxExpect:
		return wrong("expect", "expect has a number outside 0 to %d", maxExpect)
	}
	if from := p.find(raw.From); from != nil && !slices.Contains(strings.Fields(kind.from), from.Kind) {
		return wrong("from", "%s is a %s phase, from wants one of %s", raw.From, from.Kind, strings.ReplaceAll(kind.from, " ", ", "))
	}
	var err error
	if x.settings, err = settingsOf(&raw.Settings, 0); err != nil {
		return x, err
	}
	if x.grid, err = settingsOf(&raw.Grid, 0); err != nil {
		return x, err
	}
	if x.decode, err = settingsOf(&raw.Decode, 0); err != nil {
		return x, err
	}
	n := 1
	for _, g := range x.grid {
		if n *= len(g.values); n > maxGrid || n == 0 {
			return x, lineErrorf(g.line, "the grid has no or over %d combinations", maxGrid)
		}
		for _, value := range g.values {
			if !gridValue.MatchString(value) {
				return x, lineErrorf(g.line, "%s: %q names a directory, which letters, digits, dots and dashes can", g.key, value)
			}
		}
	}
	for _, s := range x.settings {
		for _, value := range s.values {
			if err := p.checkReference(x, s, value); err != nil {
				return x, err
			}
		}
	}
	for _, v := range x.variants() {
		if _, err := x.options(v); err != nil {
			return x, err
		}
	}
	if x.Pick == "bleu" {
		_, err = x.decodeOptions()
	}
	return x, err
}

// maxExpect keeps the products of what a phase expects inside an int64.
const maxExpect = 1 << 30

// gridValue is what can be part of a directory's name.
var gridValue = regexp.MustCompile(`^[A-Za-z0-9.+_-]{1,32}$`)

// checkReference checks a value of a setting that names an earlier phase.
func (p *plan) checkReference(x phase, s setting, value string) error {
	name, ok := strings.CutPrefix(x.source(s.key, value).Path, "@")
	if !ok {
		return nil
	}
	kinds := x.kind.paths[s.key]
	other := p.find(name)
	switch {
	case kinds == "":
		return lineErrorf(s.line, "%s: %s stands for a phase, which this setting does not take", s.key, value)
	case other == nil:
		return lineErrorf(s.line, "%s: %s names no earlier phase", s.key, value)
	case other.Kind != kinds:
		return lineErrorf(s.line, "%s: %s is a %s phase, want %s", s.key, value, other.Kind, kinds)
	}
	return nil
}

// source splits the weight from a value of a setting that holds sources; other
// values are all path.
func (x phase) source(key, value string) mixPart {
	if x.Kind == "pretrain" && (key == "data" || key == "val_data") {
		return parseMixPart(value)
	}
	return mixPart{Path: value}
}

// isFile reports whether a path is there and no directory.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// dirOf returns the directory of a phase, or of a variant of its grid.
func (p *plan) dirOf(name, variant string) string { return filepath.Join(p.out, name, variant) }
