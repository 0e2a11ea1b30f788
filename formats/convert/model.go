package convert

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/formats/stored"
)

// Drop is a tensor or a value of the source that is not written. Reason
// completes "X ...".
type Drop struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// model is a checkpoint seen through a layout: every slot found.
type model struct {
	family *family
	layout *layout
	dims   dims
	rows   int // of the stored embedding
	// found are the stored tensors by their stripped name.
	found map[string]stored.Tensor
	slots map[string]source
	tied  bool
	drops []Drop
	// prefixed says that the weights have the layout's prefix before them.
	prefixed bool
	// noBiases says that the model has none; they count as zeros.
	noBiases bool
}

// source is where a slot lies.
type source struct {
	tensor stored.Tensor
	place  place
}

// noLayoutError says that a checkpoint does not fit a layout. fit is how much of
// it does.
type noLayoutError struct {
	family, layout string
	fit            int
	err            error
}

func (e *noLayoutError) Error() string {
	return fmt.Sprintf("convert: %s: %s", e.family, e.err)
}

func (e *noLayoutError) Unwrap() error { return e.err }

// recognise finds the family and the layout that a checkpoint is in. arch may
// name the family; otherwise the model's configuration does, or the tensors.
func recognise(c *Checkpoint, tensors []stored.Tensor, arch string) (*model, error) {
	candidates := families
	if arch == "" {
		arch = c.Config.Arch
	}
	if arch != "" {
		f, err := familyNamed(arch)
		if err != nil {
			return nil, err
		}
		candidates = []*family{f}
	}
	var best *noLayoutError
	for _, f := range candidates {
		for _, l := range f.layouts {
			m, err := see(c, tensors, f, l)
			if err == nil {
				return m, nil
			}
			if best == nil || err.fit > best.fit {
				best = err
			}
		}
	}
	return nil, best
}

// trainerKeys lead names of what a trainer keeps beside the model.
var trainerKeys = []string{
	"optimizer", "optimizer_state_dict", "optimizer_states", "optim", "lr_scheduler", "lr_schedulers", "scheduler",
	"scaler", "grad_scaler", "rng", "rng_state", "rng_states", "cuda_rng_state", "callbacks", "loops",
}

// see looks at a checkpoint through one layout.
func see(c *Checkpoint, tensors []stored.Tensor, f *family, l *layout) (*model, *noLayoutError) {
	m := &model{family: f, layout: l, found: make(map[string]stored.Tensor), slots: make(map[string]source)}
	fail := func(format string, args ...any) *noLayoutError {
		return &noLayoutError{f.arch, l.name, len(m.found), fmt.Errorf(format, args...)}
	}
	var unknown []string
	for _, t := range tensors {
		base := strip(t.Name)
		if l == gpt2Cerebras && base == "embedding_layer.position_embeddings.weight" {
			base = "embedding_layer.position_embeddings.embed.weight" // releases up to 2.0
		}
		r, layer, ok := l.match(base)
		if !ok || layer >= maxLayers {
			if reason, ok := l.dropped(base); ok {
				m.drops = append(m.drops, Drop{t.Name, reason})
			} else if first, _, _ := strings.Cut(t.Name, "."); slices.Contains(trainerKeys, first) || len(t.Shape) == 0 {
				m.drops = append(m.drops, Drop{t.Name, "is a state of the trainer, no weight of the model"})
			} else {
				unknown = append(unknown, t.Name)
			}
			continue
		}
		if other, twice := m.found[base]; twice {
			return nil, fail("tensors %q and %q are the same weight", other.Name, t.Name)
		}
		m.found[base] = t
		m.dims.L = max(m.dims.L, layer+1)
		m.prefixed = m.prefixed || l.prefix != "" && !r.full && strings.Contains(t.Name, l.prefix)
	}
	if len(m.found) == 0 {
		return nil, fail("no tensor of the layout %s is there", l.name)
	}
	if len(unknown) > 0 {
		return nil, fail("no rule for tensor %q", unknown[0])
	}
	if err := m.measure(c); err != nil {
		return nil, fail("%w", err)
	}
	if err := m.place(c); err != nil {
		return nil, fail("%w", err)
	}
	return m, nil
}

// measure takes the sizes of the model from the shapes of its tensors, and the
// numbers of heads from the configuration.
func (m *model) measure(c *Checkpoint) error {
	d := &m.dims
	d.N, d.M = c.Config.NHead, c.Config.NKVHead
	if d.M == 0 {
		d.M = d.N
	}
	for i := range m.layout.rows {
		r := &m.layout.rows[i]
		t, ok := m.found[strip(at(r.name, 0))]
		slots := strings.Fields(r.slots)
		if !ok || len(slots) == 0 {
			continue
		}
		shape := t.Shape
		if m.layout.stacked && strings.Contains(r.slots, "#") && len(shape) > 0 {
			d.L = max(d.L, shape[0])
			shape = shape[1:]
		}
		letters := m.family.slots[slots[0]]
		if len(shape) != len(letters) {
			return fmt.Errorf("tensor %q has the shape %v, want %d dimensions", t.Name, t.Shape, len(letters))
		}
		if len(slots) != 1 {
			continue
		}
		for k := range letters {
			axis := k
			if r.kind == conv1D {
				axis = len(letters) - 1 - k
			}
			// The first row that has a size decides; place compares all shapes.
			if p := d.letter(letters[k]); *p == 0 {
				*p = shape[axis]
			}
		}
	}
	if d.L < 1 || d.C < 1 || d.V < 1 {
		return fmt.Errorf("embedding and layers are not all there: %d layers, %d channels, vocabulary %d", d.L, d.C, d.V)
	}
	m.rows = d.V
	if v := c.Config.VocabSize; c.ownConfig && v > 0 && v < d.V {
		d.V = v
	}
	return nil
}

// place finds every slot, and compares shapes.
func (m *model) place(c *Checkpoint) error {
	d := m.dims
	d.V = m.rows
	missing := 0
	for _, s := range m.family.specs(m.layout, d, 0) {
		base := strip(s.name)
		t, ok := m.found[base]
		if s.row.when == alias || s.row.when == untied {
			if !ok || s.row.when == alias && m.slots["head"].tensor.Name != "" {
				continue
			}
			if err := m.second(c, s, t, d); err != nil {
				return err
			}
			continue
		}
		if !ok {
			if isBias(s) {
				missing++
				continue
			}
			return fmt.Errorf("tensor %q is missing: there are %d layers", m.layout.prefix+s.name, d.L)
		}
		if !slices.Equal(t.Shape, s.shape) {
			return fmt.Errorf("tensor %q is %s, want %v for %d channels", t.Name, t.Info, s.shape, d.C)
		}
		for _, p := range s.places {
			if p.heads == 0 && s.row.heads != 0 {
				return fmt.Errorf("tensor %q: the number of heads is not known; a config.json beside the weights or --heads gives it", t.Name)
			}
			if p.heads != 0 && p.view.Dims[0]%(2*p.heads) != 0 {
				return fmt.Errorf("tensor %q: %d rows do not divide into halves of %d heads", t.Name, p.view.Dims[0], p.heads)
			}
			m.slots[p.slot] = source{t, p}
		}
	}
	if _, untied := m.slots["head"]; !untied {
		m.tied = true
	}
	if missing > 0 {
		return m.withoutBiases(d, missing)
	}
	return nil
}

// isBias reports whether all slots of a tensor are biases.
func isBias(s spec) bool { return strings.HasSuffix(strings.Fields(s.row.slots)[0], "b") }

// withoutBiases accepts a model that has no biases at all.
func (m *model) withoutBiases(d dims, missing int) error {
	for _, s := range m.family.specs(m.layout, d, 0) {
		if s.row.when != always || !isBias(s) {
			continue
		}
		if _, ok := m.found[strip(s.name)]; ok {
			return fmt.Errorf("%d biases are missing, but %q is there", missing, s.name)
		}
	}
	m.noBiases = true
	return nil
}

// second looks at a tensor that may be another one again: the head, or a copy.
func (m *model) second(c *Checkpoint, s spec, t stored.Tensor, d dims) error {
	of := s.row.of
	if s.row.when == untied {
		for i := range m.layout.rows {
			if m.layout.rows[i].slots == "wte" {
				of = m.layout.rows[i].name
			}
		}
	}
	first, ok := m.found[strip(of)]
	if !ok {
		return fmt.Errorf("tensor %q is missing, of which %q is a copy", of, t.Name)
	}
	same, err := sameTensor(c, first, t)
	if err != nil {
		return err
	}
	if same {
		return nil
	}
	if s.row.when == alias {
		return fmt.Errorf("tensors %q and %q differ, they should be the same", first.Name, t.Name)
	}
	if !slices.Equal(t.Shape, s.shape) {
		return fmt.Errorf("tensor %q is %s, want %v", t.Name, t.Info, s.shape)
	}
	m.slots["head"] = source{t, s.places[0]}
	return nil
}

// sameTensor reports whether two tensors have the same elements: because the
// checkpoint says so, or by their bytes.
func sameTensor(c *Checkpoint, a, b stored.Tensor) (bool, error) {
	if a.DType != b.DType || !slices.Equal(a.Shape, b.Shape) {
		return false, nil
	}
	for _, group := range c.Aliases {
		if slices.Contains(group, a.Name) && slices.Contains(group, b.Name) {
			return true, nil
		}
	}
	x, err := digest(a)
	if err != nil {
		return false, err
	}
	y, err := digest(b)
	return bytes.Equal(x, y), err
}

// digest returns the SHA-256 of the bytes of a tensor.
func digest(t stored.Tensor) ([]byte, error) {
	h := sha256.New()
	if err := t.Emit(h); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}
