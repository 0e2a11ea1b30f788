package convert

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

// Map is rules of the user, in YAML (or JSON, which is YAML):
//
//	rules:
//	  - from: encoder.{i}.attn.qkv.weight          # {i} is one part between dots
//	    to: [blocks.{i}.q, blocks.{i}.k, blocks.{i}.v]
//	    axis: 0                                    # split; [..] to one merges
//	    sizes: [64, 64, 64]                        # of the parts; equal if absent
//	    transpose: true                            # of each part, rank 2 only
//	  - {from: "head.{rest*}", to: "lm_head.{rest*}"} # {rest*} may hold dots
//	  - {from: "optimizer.{rest*}", drop: true}
//
// The first rule that fits a tensor counts. A tensor that no rule fits is an
// error; so is a rule that fits none, unless it has optional: true. Read the
// other way round (Inverse) every rule undoes itself, unless it drops something or joins parts
// without saying their sizes.
type Map struct {
	rules []rule
}

type rule struct {
	From      texts `yaml:"from"`
	To        texts `yaml:"to"`
	Axis      int   `yaml:"axis"`
	Sizes     []int `yaml:"sizes"`
	Transpose bool  `yaml:"transpose"`
	Drop      bool  `yaml:"drop"`
	Optional  bool  `yaml:"optional"`

	patterns []*regexp.Regexp
}

// texts is one text or a list of them.
type texts []string

func (t *texts) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*t = texts{node.Value}
		return nil
	}
	var list []string
	if err := node.Decode(&list); err != nil {
		return err
	}
	*t = list
	return nil
}

const (
	maxMapFile = 1 << 20
	maxRules   = 10000
	maxParts   = 64
)

// ReadMap reads rules from a file.
func ReadMap(path string) (*Map, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("convert: %w", err)
	}
	if info.Size() > maxMapFile {
		return nil, fmt.Errorf("convert: %s: %d bytes, limit %d", path, info.Size(), maxMapFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("convert: %w", err)
	}
	m, err := ParseMap(text)
	if err != nil {
		return nil, fmt.Errorf("convert: %s: %w", path, err)
	}
	return m, nil
}

// ParseMap reads rules from a text.
func ParseMap(text []byte) (*Map, error) {
	var file struct {
		Rules []rule `yaml:"rules"`
	}
	if err := yaml.Load(text, &file, yaml.WithKnownFields(), yaml.WithUniqueKeys()); err != nil {
		return nil, err
	}
	if len(file.Rules) == 0 || len(file.Rules) > maxRules {
		return nil, fmt.Errorf("%d rules, want 1 to %d", len(file.Rules), maxRules)
	}
	m := &Map{rules: file.Rules}
	for i := range m.rules {
		if err := m.rules[i].compile(); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return m, nil
}

// placeholder is {name} or {name*}.
var placeholder = regexp.MustCompile(`\{([A-Za-z_][A-Za-z_0-9]*)(\*?)\}`)

// placeholders returns the names in a pattern, sorted.
func placeholders(pattern string) ([]string, error) {
	var list []string
	for _, m := range placeholder.FindAllStringSubmatch(pattern, -1) {
		if slices.Contains(list, m[1]) {
			return nil, fmt.Errorf("%q has {%s} twice", pattern, m[1])
		}
		list = append(list, m[1])
	}
	slices.Sort(list)
	return list, nil
}

// compile checks a rule.
func (r *rule) compile() error {
	switch {
	case len(r.From) == 0 || len(r.From) > maxParts || len(r.To) > maxParts:
		return fmt.Errorf("from %d names to %d, want 1 to %d", len(r.From), len(r.To), maxParts)
	case r.Drop && (len(r.To) > 0 || len(r.From) > 1):
		return errors.New("a drop has one name in from and none in to")
	case !r.Drop && len(r.To) == 0:
		return errors.New("to is missing")
	case len(r.From) > 1 && len(r.To) > 1:
		return fmt.Errorf("from %d names to %d: one side must be one", len(r.From), len(r.To))
	case r.Axis < 0 || r.Sizes != nil && len(r.Sizes) != max(len(r.From), len(r.To)):
		return fmt.Errorf("axis is %d, %d sizes for %d parts", r.Axis, len(r.Sizes), max(len(r.From), len(r.To)))
	case slices.ContainsFunc(r.Sizes, func(n int) bool { return n < 0 }):
		return errors.New("a size is negative")
	}
	var all []string
	for i, pattern := range slices.Concat(r.From, r.To) {
		names, err := placeholders(pattern)
		if err != nil {
			return err
		}
		if i == 0 {
			all = names
		} else if !slices.Equal(names, all) {
			return fmt.Errorf("%q has the placeholders %v, %q has %v", r.From[0], all, pattern, names)
		}
	}
	for _, pattern := range r.From {
		r.patterns = append(r.patterns, regexpOf(pattern))
	}
	return nil
}

// regexpOf returns what matches the names that a pattern stands for.
func regexpOf(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^")
	last := 0
	for _, at := range placeholder.FindAllStringSubmatchIndex(pattern, -1) {
		b.WriteString(regexp.QuoteMeta(pattern[last:at[0]]))
		name, star := pattern[at[2]:at[3]], pattern[at[4]:at[5]]
		class := `[^.]+`
		if star != "" {
			class = `.+`
		}
		fmt.Fprintf(&b, "(?P<%s>%s)", name, class)
		last = at[1]
	}
	b.WriteString(regexp.QuoteMeta(pattern[last:]) + "$")
	return regexp.MustCompile(b.String())
}

// fill puts values in the places of a pattern.
func fill(pattern string, values map[string]string) string {
	return placeholder.ReplaceAllStringFunc(pattern, func(s string) string { return values[strings.Trim(s, "{*}")] })
}

// Inverse returns the rules read the other way round. A drop has no inverse.
func (m *Map) Inverse() (*Map, error) {
	out := &Map{}
	for i, r := range m.rules {
		if r.Drop {
			return nil, fmt.Errorf("convert: rule %d drops %q: it has no inverse", i+1, r.From[0])
		}
		if len(r.From) > 1 && r.Sizes == nil {
			return nil, fmt.Errorf("convert: rule %d joins %d tensors without sizes: to split them again it needs sizes", i+1, len(r.From))
		}
		r.From, r.To, r.patterns = r.To, r.From, nil
		if err := r.compile(); err != nil {
			return nil, fmt.Errorf("convert: inverse of rule %d: %w", i+1, err)
		}
		out.rules = append(out.rules, r)
	}
	return out, nil
}

// fit is a rule with the tensors that it takes, by their place in from.
type fit struct {
	rule   *rule
	values map[string]string
	taken  []stored.Tensor
}

// planMap writes the tensors as the user's rules say.
func (p *Plan) planMap(tensors []stored.Tensor) error {
	var fits []*fit
	byKey := make(map[string]*fit)
	used := make([]bool, len(p.Options.Map.rules))
	for _, t := range tensors {
		i, k, values := p.Options.Map.find(t.Name)
		if i < 0 {
			return fmt.Errorf("convert: no rule for tensor %q", t.Name)
		}
		used[i] = true
		r := &p.Options.Map.rules[i]
		if r.Drop {
			p.Drops = append(p.Drops, Drop{t.Name, fmt.Sprintf("is dropped by rule %d", i+1)})
			continue
		}
		key := fmt.Sprint(i)
		for _, name := range slices.Sorted(maps.Keys(values)) {
			key += "\x00" + name + "=" + values[name]
		}
		f := byKey[key]
		if f == nil {
			f = &fit{rule: r, values: values, taken: make([]stored.Tensor, len(r.From))}
			byKey[key] = f
			fits = append(fits, f)
		}
		f.taken[k] = t
	}
	for i, ok := range used {
		if r := p.Options.Map.rules[i]; !ok && !r.Optional {
			return fmt.Errorf("convert: rule %d, from %q, fits no tensor", i+1, r.From[0])
		}
	}
	for _, f := range fits {
		if err := p.planFit(f); err != nil {
			return fmt.Errorf("convert: %w", err)
		}
	}
	return nil
}

// find returns the first rule that fits a name, which of its patterns does, and
// what the placeholders stand for.
func (m *Map) find(name string) (i, k int, values map[string]string) {
	for i, r := range m.rules {
		for k, re := range r.patterns {
			found := re.FindStringSubmatch(name)
			if found == nil {
				continue
			}
			values = make(map[string]string)
			for n, group := range re.SubexpNames() {
				if group != "" {
					values[group] = found[n]
				}
			}
			return i, k, values
		}
	}
	return -1, 0, nil
}

// planFit makes the outputs of one rule.
func (p *Plan) planFit(f *fit) error {
	r := f.rule
	for k, t := range f.taken {
		if t.WriteTo == nil {
			return fmt.Errorf("tensor %q is missing, which a rule joins with others", fill(r.From[k], f.values))
		}
	}
	name := func(k int) string { return fill(r.To[k], f.values) }
	if len(r.From) == 1 && len(r.To) == 1 && !r.Transpose {
		t := f.taken[0]
		info := t.Info
		info.Name = name(0)
		p.Outputs = append(p.Outputs, Output{Info: info, From: []string{t.Name}, tensor: t})
		return nil
	}
	taken := make([]stored.Tensor, len(f.taken))
	for k, t := range f.taken {
		var err error
		if taken[k], err = p.plain(t); err != nil {
			return err
		}
	}
	if len(r.From) > 1 {
		return p.join(r, taken, name(0))
	}
	return p.part(r, taken[0], name)
}

// part splits a tensor; one part is the tensor, transposed.
func (p *Plan) part(r *rule, t stored.Tensor, name func(int) string) error {
	n := len(r.To)
	if r.Axis >= len(t.Shape) {
		return fmt.Errorf("tensor %q is %s, axis is %d", t.Name, t.Info, r.Axis)
	}
	sizes := r.Sizes
	if sizes == nil {
		if t.Shape[r.Axis]%n != 0 {
			return fmt.Errorf("tensor %q is %s: dimension %d does not divide into %d parts", t.Name, t.Info, r.Axis, n)
		}
		sizes = slices.Repeat([]int{t.Shape[r.Axis] / n}, n)
	}
	begin := 0
	for k := range n {
		slice := cut(stored.RowMajor(t.Shape), r.Axis, begin, begin+sizes[k])
		if begin += sizes[k]; begin > t.Shape[r.Axis] {
			return fmt.Errorf("tensor %q is %s, the sizes are %v", t.Name, t.Info, sizes)
		}
		shape, view, err := partView(slice.Dims, r.Transpose)
		if err != nil {
			return fmt.Errorf("tensor %q is %s: %w", t.Name, t.Info, err)
		}
		p.Outputs = append(p.Outputs, Output{
			Info: formats.Info{Name: name(k), DType: t.DType, Shape: shape}, From: []string{t.Name}, parts: []piece{{t, slice, view}},
		})
	}
	if begin != t.Shape[r.Axis] {
		return fmt.Errorf("tensor %q is %s, the sizes are %v", t.Name, t.Info, sizes)
	}
	return nil
}

// partView returns the shape of a part and the view that has it in the order of
// the slice that it is.
func partView(dims []int, transpose bool) (shape []int, v stored.View, err error) {
	if !transpose {
		return dims, stored.RowMajor(dims), nil
	}
	if len(dims) != 2 {
		return nil, v, errors.New("only matrices can be transposed")
	}
	return []int{dims[1], dims[0]}, stored.View{Dims: dims, Strides: []int{1, dims[0]}}, nil
}

// join puts tensors side by side.
func (p *Plan) join(r *rule, parts []stored.Tensor, name string) error {
	out := Output{Info: formats.Info{Name: name, DType: parts[0].DType}}
	var extents [][]int // of the parts, as they lie in the whole
	for k, t := range parts {
		dims := t.Shape
		if r.Transpose {
			if len(dims) != 2 {
				return fmt.Errorf("tensor %q is %s: only matrices can be transposed", t.Name, t.Info)
			}
			dims = []int{dims[1], dims[0]}
		}
		if r.Axis >= len(dims) {
			return fmt.Errorf("tensor %q is %s, axis is %d", t.Name, t.Info, r.Axis)
		}
		if r.Sizes != nil && dims[r.Axis] != r.Sizes[k] {
			return fmt.Errorf("tensor %q is %s, its size should be %d", t.Name, t.Info, r.Sizes[k])
		}
		if k == 0 {
			out.Shape = slices.Clone(dims)
		} else {
			if len(dims) != len(out.Shape) {
				return fmt.Errorf("tensors %q and %q have %d and %d dimensions", parts[0].Name, t.Name, len(out.Shape), len(dims))
			}
			for i := range dims {
				if i != r.Axis && dims[i] != out.Shape[i] {
					return fmt.Errorf("tensors %q and %q are %s and %s", parts[0].Name, t.Name, parts[0].Info, t.Info)
				}
			}
			out.Shape[r.Axis] += dims[r.Axis]
		}
		extents = append(extents, dims)
	}
	begin := 0
	for k, t := range parts {
		n := extents[k][r.Axis]
		_, from, err := partView(extents[k], r.Transpose)
		if err != nil {
			return err
		}
		out.parts = append(out.parts, piece{t, from, cut(stored.RowMajor(out.Shape), r.Axis, begin, begin+n)})
		out.From = append(out.From, t.Name)
		begin += n
	}
	p.Outputs = append(p.Outputs, out)
	return nil
}
