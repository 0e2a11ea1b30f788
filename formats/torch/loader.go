package torch

// loader is the builder that makes tensors. It fails at the first global outside
// the allow-list, unless skip is set: then what such globals would make becomes
// objects, which flattening lists but does not look into.
type loader struct {
	skip bool
	// resolve returns the storage or tensor of a persistent id.
	resolve func(id any) (any, error)
}

func (l *loader) global(module, name string, at int64) (any, error) {
	if _, ok := lookup(module, name); !ok && !l.skip {
		return nil, &UnsafeError{Global: module + "." + name, Offset: at}
	}
	return &global{module, name}, nil
}

func (l *loader) call(_ string, fn any, args tuple, at int64) (any, error) {
	g, ok := fn.(*global)
	if !ok {
		if o, isObject := fn.(*object); isObject && l.skip {
			return &object{o.callable}, nil
		}
		return nil, malformed("byte %d: call of a %s", at, typeName(fn))
	}
	h, ok := lookup(g.module, g.name)
	if !ok {
		return &object{g.String()}, nil // only with skip: global has checked
	}
	if h == nil {
		if l.skip {
			return &object{g.String()}, nil
		}
		return nil, &UnsafeError{Global: g.String(), Offset: at}
	}
	v, err := h(args)
	if err != nil {
		return nil, atByte(at, err)
	}
	if v == nil {
		return &object{g.String()}, nil
	}
	return v, nil
}

func (l *loader) build(to, state any, at int64) error {
	switch to := to.(type) {
	case *object:
		return nil
	case *refused:
		return nil
	case *tensor:
		if to.storage != nil {
			return nil // attributes of a tensor that stands already
		}
		args, ok := state.(tuple)
		if !ok {
			return malformed("byte %d: tensor is given the state %s", at, repr(state))
		}
		v, err := rebuildTensor(args)
		if err != nil {
			return atByte(at, err)
		}
		*to = *v.(*tensor)
		return nil
	}
	return malformed("byte %d: a %s is given a state", at, typeName(to))
}

func (l *loader) mutate(kind string, to any, at int64) error {
	if _, ok := to.(*object); ok {
		return nil
	}
	return malformed("byte %d: %s on a %s", at, kind, typeName(to))
}

func (l *loader) persistent(id any, at int64) (any, error) {
	if l.resolve == nil {
		return nil, malformed("byte %d: persistent id %s, where there can be none", at, repr(id))
	}
	v, err := l.resolve(id)
	if err != nil {
		return nil, atByte(at, err)
	}
	return v, nil
}
