package maskfile

import (
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/spdfctl/spdfctl/masks"
)

// Bounds on YAML files.
const (
	maxYAML   = 1 << 20
	maxGroups = 10000
)

// readYAML reads a file of at most maxYAML bytes.
func readYAML(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("maskfile: %w", err)
	}
	if info.Size() > maxYAML {
		return nil, fmt.Errorf("maskfile: %s: %d bytes, limit %d", path, info.Size(), maxYAML)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("maskfile: %w", err)
	}
	return text, nil
}

// ReadGroups reads a YAML file that asks for other sparsities for some matrices:
//
//	groups:
//	  - match: "h.*.mlp.*"
//	    sparsity: 0.9
//	  - match: "h.0.*"
//	    dense: true
//
// The first group whose glob matches a name or key counts. A sparsity is read
// exactly, as it is typed.
func ReadGroups(path string) ([]masks.Group, error) {
	text, err := readYAML(path)
	if err != nil {
		return nil, err
	}
	groups, err := ParseGroups(text)
	if err != nil {
		return nil, fmt.Errorf("maskfile: %s: %w", path, err)
	}
	return groups, nil
}

// ParseGroups is ReadGroups for a text.
func ParseGroups(text []byte) ([]masks.Group, error) {
	var file struct {
		Groups []struct {
			Match    string    `yaml:"match"`
			Sparsity yaml.Node `yaml:"sparsity"`
			Dense    bool      `yaml:"dense"`
		} `yaml:"groups"`
	}
	if err := yaml.Load(text, &file, yaml.WithKnownFields(), yaml.WithUniqueKeys()); err != nil {
		return nil, err
	}
	if len(file.Groups) == 0 || len(file.Groups) > maxGroups {
		return nil, fmt.Errorf("%d groups, want 1 to %d", len(file.Groups), maxGroups)
	}
	list := make([]masks.Group, len(file.Groups))
	for i, g := range file.Groups {
		given := g.Sparsity.Kind != 0
		if g.Match == "" || given == g.Dense {
			return nil, fmt.Errorf("group %d: want match, and either sparsity or dense: true", i+1)
		}
		if _, err := (masks.Target{}).Matches(g.Match); err != nil {
			return nil, fmt.Errorf("group %d: %w", i+1, err)
		}
		list[i] = masks.Group{Match: g.Match, Dense: g.Dense}
		if given {
			s, err := masks.ParseSparsity(g.Sparsity.Value)
			if err != nil {
				return nil, fmt.Errorf("group %d: %w", i+1, err)
			}
			list[i].Sparsity = s
		}
	}
	return list, nil
}

// ReadCerebras reads the block sparsity: of a YAML file of Cerebras' Model Zoo, or
// the file that is only this block's value.
func ReadCerebras(path string) ([]masks.Dynamics, error) {
	text, err := readYAML(path)
	if err != nil {
		return nil, err
	}
	list, err := ParseCerebras(text)
	if err != nil {
		return nil, fmt.Errorf("maskfile: %s: %w", path, err)
	}
	return list, nil
}

// ParseCerebras reads Cerebras' block sparsity: as it stands: a number; a mapping
// with sparsity or schedule, and algorithm (or the older type), init_method,
// param_filter (or the older param_name_patterns), update, drop_fraction; or a
// list of such mappings, also under groups. It may be the whole text or stand
// under sparsity, or under trainer, init, sparsity, with anything beside it. What
// cannot be honoured here is an error: balance groups, lambdas, unknown keys.
//
// Source: cerebras.pytorch, sparse/configure.py and sparse/utils.py; Model Zoo,
// release 2.10, models/nlp/gpt3/configs/sparsity.
func ParseCerebras(text []byte) ([]masks.Dynamics, error) {
	var root yaml.Node
	if err := yaml.Load(text, &root, yaml.WithUniqueKeys()); err != nil {
		return nil, err
	}
	node := &root
	if node.Kind == yaml.DocumentNode {
		if len(node.Content) == 0 {
			return nil, fmt.Errorf("the file is empty")
		}
		node = node.Content[0]
	}
	if inner := under(node, "trainer", "init", "sparsity"); inner != nil {
		node = inner
	} else if inner := under(node, "sparsity"); inner != nil && (inner.Kind != yaml.ScalarNode || len(node.Content) == 2) && !isSchedule(inner) {
		node = inner
	}
	list, err := parseBlocks(node, 0)
	if err != nil {
		return nil, fmt.Errorf("sparsity: %w", err)
	}
	return list, nil
}

// under follows keys down mappings.
func under(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		var next *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				next = n.Content[i+1]
			}
		}
		n = next
	}
	return n
}

// isSchedule reports whether n is the value of a key sparsity inside the block:
// a list of numbers, or a mapping with the type of a schedule and no more of the
// block.
func isSchedule(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.SequenceNode:
		return len(n.Content) > 0 && n.Content[0].Kind == yaml.ScalarNode
	case yaml.MappingNode:
		return under(n, "type") != nil && under(n, "sparsity") == nil && under(n, "schedule") == nil
	}
	return false
}

// parseBlocks reads the value of the block.
func parseBlocks(n *yaml.Node, depth int) ([]masks.Dynamics, error) {
	switch {
	case n.Kind == yaml.ScalarNode:
		return parseBlock(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "sparsity"}, n}})
	case n.Kind == yaml.MappingNode && under(n, "groups") != nil && depth == 0:
		return parseBlocks(under(n, "groups"), 1)
	case n.Kind == yaml.MappingNode:
		return parseBlock(n)
	case n.Kind == yaml.SequenceNode && depth < 2:
		var list []masks.Dynamics
		for i, item := range n.Content {
			one, err := parseBlocks(item, 2)
			if err != nil {
				return nil, fmt.Errorf("group %d: %w", i+1, err)
			}
			list = append(list, one...)
		}
		if len(list) == 0 || len(list) > maxGroups {
			return nil, fmt.Errorf("%d groups, want 1 to %d", len(list), maxGroups)
		}
		return list, nil
	}
	return nil, fmt.Errorf("line %d: want a number, a mapping or a list of mappings", n.Line)
}

// initMethods are Cerebras' words for ours.
var initMethods = map[string]string{"random": "random", "topk": "magnitude", "from_zeros": "from-zeros", "checkerboard": "checkerboard"}

// parseBlock reads one mapping.
func parseBlock(n *yaml.Node) ([]masks.Dynamics, error) {
	d := masks.Dynamics{Algorithm: "static", Method: "random", Updates: masks.Updates{Every: 1}, Drop: masks.Fixed(0.3)}
	var sparsity, drop *yaml.Node
	pairs, err := flat(n)
	if err != nil {
		return nil, err
	}
	for key, v := range pairs {
		switch key {
		case "sparsity", "schedule":
			if sparsity != nil {
				return nil, fmt.Errorf("both sparsity and schedule are given")
			}
			sparsity = v
		case "algorithm", "type":
			d.Algorithm = strings.ToLower(v.Value)
		case "init_method":
			if d.Method = initMethods[v.Value]; d.Method == "" {
				return nil, fmt.Errorf("line %d: init_method %.40q is none of random, topk, from_zeros and checkerboard", v.Line, v.Value)
			}
		case "param_filter", "param_name_patterns":
			if d.Filter, err = stringList(v); err != nil {
				return nil, err
			}
		case "update":
			if d.Updates, err = parseUpdates(v); err != nil {
				return nil, err
			}
		case "drop_fraction":
			drop = v
		default:
			return nil, fmt.Errorf("line %d: key %.40q is not known here", v.Line, key)
		}
	}
	if sparsity == nil {
		return nil, fmt.Errorf("line %d: no sparsity", n.Line)
	}
	if d.Sparsity, err = parseSchedule(sparsity, d.Updates); err != nil {
		return nil, err
	}
	if sparsity.Kind == yaml.ScalarNode {
		d.Text = sparsity.Value
		if _, err := masks.ParseSparsity(d.Text); err != nil {
			return nil, err
		}
	}
	if drop != nil {
		if d.Drop, err = parseSchedule(drop, d.Updates); err != nil {
			return nil, err
		}
	}
	return []masks.Dynamics{d}, d.Check()
}

// flat returns the pairs of a mapping, with those of the key params among them.
func flat(n *yaml.Node) (map[string]*yaml.Node, error) {
	pairs := make(map[string]*yaml.Node)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i].Value, n.Content[i+1]
		inner := map[string]*yaml.Node{key: v}
		if key == "params" && v.Kind == yaml.MappingNode && n.Kind == yaml.MappingNode {
			delete(inner, key)
			for k := 0; k+1 < len(v.Content); k += 2 {
				inner[v.Content[k].Value] = v.Content[k+1]
			}
		}
		for key, v := range inner {
			if pairs[key] != nil {
				return nil, fmt.Errorf("line %d: key %.40q is there twice", v.Line, key)
			}
			pairs[key] = v
		}
	}
	return pairs, nil
}

func stringList(n *yaml.Node) ([]string, error) {
	if n.Kind == yaml.ScalarNode {
		return []string{n.Value}, nil
	}
	var list []string
	for _, item := range n.Content {
		if n.Kind != yaml.SequenceNode || item.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: want a pattern or a list of them", n.Line)
		}
		list = append(list, item.Value)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("line %d: no patterns", n.Line)
	}
	return list, nil
}

// parseUpdates reads {freq, start, stop} or {steps}.
func parseUpdates(n *yaml.Node) (masks.Updates, error) {
	var u struct {
		Freq  *int  `yaml:"freq"`
		Start int   `yaml:"start"`
		Stop  *int  `yaml:"stop"`
		Steps []int `yaml:"steps"`
	}
	if n.Kind != yaml.MappingNode {
		return masks.Updates{}, fmt.Errorf("line %d: update: want a mapping with freq or steps", n.Line)
	}
	if err := n.Load(&u, yaml.WithKnownFields()); err != nil {
		return masks.Updates{}, fmt.Errorf("update: %w", err)
	}
	if (u.Freq == nil) == (len(u.Steps) == 0) {
		return masks.Updates{}, fmt.Errorf("line %d: update: want either freq or steps", n.Line)
	}
	if u.Freq == nil {
		return masks.Updates{Steps: u.Steps}, nil
	}
	r := masks.Updates{Every: *u.Freq, Begin: u.Start}
	if u.Stop != nil {
		if r.End = *u.Stop; r.End <= r.Begin {
			return r, fmt.Errorf("line %d: update: stop is %d, start %d", n.Line, r.End, r.Begin)
		}
	}
	return r, nil
}

// parseSchedule reads a number, a list of numbers that are cycled through at the
// updates, or a mapping with the type of a schedule.
func parseSchedule(n *yaml.Node, u masks.Updates) (masks.Schedule, error) {
	fail := func(err error) (masks.Schedule, error) {
		return masks.Schedule{}, fmt.Errorf("line %d: %w", n.Line, err)
	}
	switch n.Kind {
	case yaml.ScalarNode:
		var v float64
		if err := n.Load(&v); err != nil {
			return fail(err)
		}
		return masks.Fixed(v), nil
	case yaml.SequenceNode:
		var values []float64
		if err := n.Load(&values); err != nil {
			return fail(err)
		}
		return masks.Schedule{Kind: masks.Cyclic, Values: values, Every: max(u.Every, 1), Begin: u.Begin}, nil
	}
	var s struct {
		Type       string    `yaml:"type"`
		Value      *float64  `yaml:"value"`
		Init       float64   `yaml:"init"`
		Slope      float64   `yaml:"slope"`
		Gamma      float64   `yaml:"gamma"`
		Final      *float64  `yaml:"final"`
		Beta       float64   `yaml:"beta"`
		HalfPeriod float64   `yaml:"half_period"`
		Minimum    float64   `yaml:"minimum"`
		Values     []float64 `yaml:"values"`
	}
	if err := n.Load(&s, yaml.WithKnownFields()); err != nil {
		return fail(err)
	}
	switch strings.ToLower(s.Type) {
	case "constant":
		if s.Value == nil {
			return fail(fmt.Errorf("a constant schedule without value"))
		}
		return masks.Fixed(*s.Value), nil
	case "linear":
		if s.Slope == 0 {
			return masks.Fixed(s.Init), nil
		}
		return masks.Schedule{Kind: masks.Linear, Init: s.Init, Rate: s.Slope}, nil
	case "exp":
		final := 1.0
		if s.Final != nil {
			final = *s.Final
		}
		return masks.Schedule{Kind: masks.Exponential, Init: s.Init, Final: final, Rate: s.Gamma}, nil
	case "power":
		return masks.Schedule{Kind: masks.Power, Init: s.Init, Rate: s.Beta}, nil
	case "cosine":
		if s.HalfPeriod < 1 || s.HalfPeriod != float64(int(s.HalfPeriod)) {
			return fail(fmt.Errorf("half_period %g is not a whole number of steps", s.HalfPeriod))
		}
		return masks.Schedule{Kind: masks.Cosine, Init: s.Init, Final: s.Minimum, End: int(s.HalfPeriod), Repeat: true}, nil
	case "cycling":
		return masks.Schedule{Kind: masks.Cyclic, Values: s.Values, Every: max(u.Every, 1), Begin: u.Begin}, nil
	}
	return fail(fmt.Errorf("schedule type %.40q is none of constant, linear, exp, power, cosine and cycling", s.Type))
}
