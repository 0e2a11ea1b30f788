package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"

	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// settingsOf reads a mapping of settings, with its merge keys; what stands
// nearer wins.
func settingsOf(node *yaml.Node, depth int) ([]setting, error) {
	if depth > 8 {
		return nil, lineErrorf(node.Line, "merged more than 8 deep")
	}
	if node.Kind == yaml.AliasNode {
		return settingsOf(node.Alias, depth+1)
	}
	if node.IsZero() {
		return nil, nil
	}
	if node.Kind != yaml.MappingNode {
		return nil, lineErrorf(node.Line, "not a mapping of settings")
	}
	var list, merged []setting
	add := func(to *[]setting, s setting) {
		if !slices.ContainsFunc(*to, func(x setting) bool { return x.key == s.key }) {
			*to = append(*to, s)
		}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Value == "<<" {
			parents := []*yaml.Node{value}
			if value.Kind == yaml.SequenceNode {
				parents = value.Content
			}
			for _, parent := range parents {
				from, err := settingsOf(parent, depth+1)
				if err != nil {
					return nil, err
				}
				for _, s := range from {
					add(&merged, s)
				}
			}
			continue
		}
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		s := setting{key: key.Value, line: key.Line}
		switch value.Kind {
		case yaml.ScalarNode:
			s.values = []string{value.Value}
		case yaml.SequenceNode:
			for _, item := range value.Content {
				if item.Kind != yaml.ScalarNode {
					return nil, lineErrorf(item.Line, "%s: the list holds more than plain values", s.key)
				}
				s.values = append(s.values, item.Value)
			}
		default:
			return nil, lineErrorf(key.Line, "%s: neither a value nor a list", s.key)
		}
		if slices.ContainsFunc(list, func(x setting) bool { return x.key == s.key }) {
			return nil, lineErrorf(s.line, "%s twice", s.key)
		}
		list = append(list, s)
	}
	for _, s := range merged {
		add(&list, s)
	}
	return list, nil
}

// variant is one combination of a grid.
type variant struct {
	name     string // "": there is no grid
	settings []setting
}

// variants returns the combinations of a phase's grid, the last key varying
// fastest.
func (x *phase) variants() []variant {
	list := []variant{{"", x.settings}}
	for _, g := range x.grid {
		var next []variant
		for _, v := range list {
			for _, value := range g.values {
				s := slices.DeleteFunc(slices.Clone(v.settings), func(s setting) bool { return s.key == g.key })
				name := strings.TrimPrefix(v.name+","+g.key+"="+value, ",")
				next = append(next, variant{name, append(s, setting{g.key, []string{value}, g.line})})
			}
		}
		list = next
	}
	return list
}

// reservedFlags are set by the plan itself.
var reservedFlags = []string{"out", "config", "resume", "force", "from", "hyp", "dry-run", "json", "quiet", "threads", "kernels", "log-format", "help"}

// options are the settings of a phase as its command takes them.
type options struct {
	flags    *pflag.FlagSet
	pretrain pretrainConfig
	finetune finetuneConfig
	nlg      nlgFlags
	loss     lossFlags
}

// options puts the settings of a variant into the flags of the phase's command
// and makes that command's own checks, as far as they need no file.
func (x *phase) options(v variant) (*options, error) {
	o := &options{flags: pflag.NewFlagSet(x.Kind, pflag.ContinueOnError), pretrain: pretrainDefaults(), finetune: finetuneDefaults()}
	var score scoreFlags
	switch x.Kind {
	case "pretrain":
		o.pretrain.define(o.flags)
	case "finetune":
		o.finetune.define(o.flags)
	case "decode":
		o.nlg.define(o.flags)
	case "loss":
		o.loss.define(o.flags)
	case "score":
		score.define(o.flags)
	default:
		cmd, _, err := newRootCmd(&app{}).Find(x.kind.command)
		if err != nil {
			return nil, err
		}
		o.flags = cmd.Flags()
	}
	if err := x.set(o.flags, v.settings); err != nil {
		return nil, err
	}
	missing := func(name string) error {
		if o.flags.Changed(name) {
			return nil
		}
		return lineErrorf(x.line, "%s is missing in the settings", strings.ReplaceAll(name, "-", "_"))
	}
	// The decode settings of a grid stand in another place than those of a phase.
	var err error
	switch x.Kind {
	case "prepare":
		err = missing("tokenizer")
	case "pretrain":
		for _, pair := range pretrainContradictions {
			for _, other := range pair[1:] {
				if a, b := v.line(pair[0]), v.line(other); a > 0 && b > 0 {
					return nil, lineErrorf(a, "%s contradicts %s of line %d", pair[0], other, b)
				}
			}
		}
		var sparsity masks.Sparsity
		if err = missing("data"); err == nil {
			sparsity, err = o.pretrain.sparsity()
		}
		if err == nil {
			var c gpt.Config
			// The size of the vocabulary may come from the data.
			if c, err = o.pretrain.modelConfig(1); err == nil {
				err = o.pretrain.resolve(c)
			}
		}
		if err == nil {
			err = o.pretrain.checkMasks(sparsity)
		}
	case "finetune":
		if err = missing("data"); err == nil {
			check := o.finetune
			err = check.resolve(max(x.Expect.Examples, 1<<30))
		}
	case "decode":
		err = o.nlg.check()
	case "loss":
		err = o.loss.check()
	case "score":
		score.hyp = hypFile
		err = score.check()
	}
	for _, key := range keysOf(err) {
		if line := v.line(key); line > 0 {
			return nil, &lineError{line, err}
		}
	}
	return o, err
}

// decodeOptions returns the options of the decodings by which a grid picks.
func (x *phase) decodeOptions() (*options, error) {
	d := x.decoding()
	return d.options(variant{settings: x.decode})
}

// decoding is the phase that decodes the variants of a grid.
func (x *phase) decoding() *phase {
	return &phase{planPhase: planPhase{Name: x.Name, Kind: "decode"}, line: x.line, kind: phaseKinds["decode"]}
}

// line returns the line of a setting, 0 if there is none.
func (v variant) line(key string) int {
	for _, s := range v.settings {
		if s.key == key {
			return s.line
		}
	}
	return 0
}

// set puts settings into flags.
func (x *phase) set(flags *pflag.FlagSet, settings []setting) error {
	for _, s := range settings {
		name := strings.ReplaceAll(s.key, "_", "-")
		f := flags.Lookup(name)
		if f == nil || slices.Contains(reservedFlags, name) {
			return lineErrorf(s.line, "%s is not a setting of %s", s.key, strings.Join(x.kind.command, " "))
		}
		if len(s.values) != 1 && !strings.HasSuffix(f.Value.Type(), "Array") && !strings.HasSuffix(f.Value.Type(), "Slice") {
			return lineErrorf(s.line, "%s takes one value, not %d", s.key, len(s.values))
		}
		for _, value := range s.values {
			if err := flags.Set(name, value); err != nil {
				var invalid *pflag.InvalidValueError
				if errors.As(err, &invalid) {
					err = invalid.Unwrap()
				}
				return lineErrorf(s.line, "%s: %q: %w", s.key, value, err)
			}
		}
	}
	return nil
}
