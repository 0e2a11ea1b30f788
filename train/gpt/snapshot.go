package gpt

// Snapshot returns a copy of m whose weights a pass or an update of m no longer
// changes, to be written while m trains on. It has no gradients and no buffers.
// Of a model with an update of low rank only the factors are copied, because
// the rest is frozen. reuse, if not nil, is an earlier snapshot of a model of
// the same shape, whose memory is taken.
func (m *Model) Snapshot(reuse *Model) *Model {
	s := &Model{Config: m.Config, Masks: m.Masks, Params: make([]*Param, len(m.Params)), lora: m.lora}
	for i, p := range m.Params {
		q := *p
		q.Grad, q.Full, q.adapters = nil, nil, nil
		if m.lora == nil {
			var memory []float32
			if reuse != nil {
				memory = reuse.Params[i].W[:0]
			}
			q.W = append(memory, p.W...)
		}
		s.Params[i] = &q
		for _, a := range p.adapters {
			q.adapters = append(q.adapters, &adapter{target: a.target, offset: a.offset, a: a.a.copied(), b: a.b.copied(), scale: a.scale})
		}
	}
	// In the order of m's own list.
	copies := map[string]*Param{}
	for _, p := range s.Params {
		for _, a := range p.adapters {
			copies[a.a.Name], copies[a.b.Name] = a.a, a.b
		}
	}
	for _, p := range m.loraParams {
		s.loraParams = append(s.loraParams, copies[p.Name])
	}
	return s
}

// copied returns p with weights of its own and no gradients.
func (p *Param) copied() *Param {
	q := *p
	q.W, q.Grad = append([]float32(nil), p.W...), nil
	return &q
}
