package torch

// This file holds the calls of the allow-list.

func newDict(args tuple) (any, error) {
	d := &dict{}
	if len(args) == 0 {
		return d, nil
	}
	if len(args) > 1 {
		return nil, malformed("dict is made of %d arguments", len(args))
	}
	if from, ok := args[0].(*dict); ok {
		for _, e := range from.entries {
			if err := d.put(e.key, e.value); err != nil {
				return nil, err
			}
		}
		return d, nil
	}
	items, ok := args[0].(*list)
	if !ok {
		return nil, malformed("dict is made of a %s", typeName(args[0]))
	}
	for _, item := range items.items {
		var pair []any
		switch item := item.(type) {
		case tuple:
			pair = item
		case *list:
			pair = item.items
		}
		if len(pair) != 2 {
			return nil, malformed("dict is made of a list with a %s in it", typeName(item))
		}
		if err := d.put(pair[0], pair[1]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// newDefaultDict drops the factory.
func newDefaultDict(args tuple) (any, error) {
	if len(args) > 0 {
		args = args[1:]
	}
	return newDict(args)
}

func newSize(args tuple) (any, error) {
	if len(args) != 1 {
		return nil, malformed("torch.Size has %d arguments", len(args))
	}
	if items, ok := args[0].(*list); ok {
		return tuple(items.items), nil
	}
	items, ok := args[0].(tuple)
	if !ok {
		return nil, malformed("torch.Size is made of a %s", typeName(args[0]))
	}
	return items, nil
}

func newSet(args tuple) (any, error) {
	s := &set{}
	if len(args) > 0 {
		items, ok := args[0].(*list)
		if !ok {
			return nil, malformed("set is made of a %s", typeName(args[0]))
		}
		s.items = items.items
	}
	return s, nil
}

func newList(args tuple) (any, error) {
	l := &list{}
	if len(args) > 0 {
		switch from := args[0].(type) {
		case *list:
			l.items = append(l.items, from.items...)
		case tuple:
			l.items = append(l.items, from...)
		default:
			return nil, malformed("list is made of a %s", typeName(args[0]))
		}
	}
	return l, nil
}

// encodeLatin1 is how protocols below 3 write bytes.
func encodeLatin1(args tuple) (any, error) {
	if len(args) == 2 {
		text, ok := args[0].(string)
		if encoding, ok2 := args[1].(string); ok && ok2 && (encoding == "latin1" || encoding == "latin-1") {
			b := make([]byte, 0, len(text))
			for _, r := range text {
				if r > 0xff {
					return nil, malformed("bytes have the character %U", r)
				}
				b = append(b, byte(r))
			}
			return b, nil
		}
	}
	return nil, malformed("bytes are made of %s", repr(args))
}

// describe stands for calls whose result is no tensor: loader.call makes an
// object of them.
func describe(tuple) (any, error) { return nil, nil }

func refuseTensor(reason string) handler {
	return func(tuple) (any, error) { return &refused{reason}, nil }
}

// emptyTensor is a tensor that BUILD fills in.
func emptyTensor(args tuple) (any, error) {
	if len(args) > 0 {
		return nil, unsupported("tensor is made by its class, of %s", repr(args))
	}
	return &tensor{}, nil
}

// newParameter returns the tensor itself: requires_grad and hooks are of no
// interest here.
func newParameter(args tuple) (any, error) {
	if len(args) == 0 {
		return &tensor{}, nil
	}
	switch args[0].(type) {
	case *tensor, *refused:
		return args[0], nil
	}
	return nil, malformed("parameter is made of a %s", typeName(args[0]))
}

// storageOf returns the storage that is the first of a number of arguments.
func storageOf(args tuple, atLeast int) (*storage, error) {
	if len(args) < atLeast {
		return nil, malformed("tensor is made of %d arguments, want %d or more", len(args), atLeast)
	}
	s, ok := args[0].(*storage)
	if !ok {
		return nil, malformed("tensor is made of a %s, not a storage", typeName(args[0]))
	}
	return s, nil
}

// rebuildTensor is (storage, offset, size, stride).
func rebuildTensor(args tuple) (any, error) {
	s, err := storageOf(args, 4)
	if err != nil {
		return nil, err
	}
	return newTensor(s, s.elem, args[1], args[2], args[3])
}

// rebuildTensorV2 is (storage, offset, size, stride, requires_grad, hooks,
// [metadata]).
func rebuildTensorV2(args tuple) (any, error) {
	t, err := rebuildTensor(args)
	if err != nil || len(args) < 7 {
		return t, err
	}
	return mathBits(t, args[6])
}

// rebuildTensorV3 is (storage, offset, size, stride, requires_grad, hooks,
// dtype, [metadata]): the storage is untyped.
func rebuildTensorV3(args tuple) (any, error) {
	s, err := storageOf(args, 7)
	if err != nil {
		return nil, err
	}
	g, ok := args[6].(*global)
	if !ok || g.module != "torch" || elems[g.name] == nil {
		return nil, malformed("tensor has the dtype %s", repr(args[6]))
	}
	t, err := newTensor(s, elems[g.name], args[1], args[2], args[3])
	if err != nil || len(args) < 8 {
		return t, err
	}
	return mathBits(t, args[7])
}

// mathBits refuses a view whose values are those of the storage negated or
// conjugated, which the metadata say.
func mathBits(t, metadata any) (any, error) {
	d, ok := metadata.(*dict)
	if !ok {
		return t, nil
	}
	for _, e := range d.entries {
		switch e.key {
		case "conj", "neg":
			if e.value == true {
				return &refused{"is a view that " + map[any]string{"conj": "conjugates", "neg": "negates"}[e.key] + " its storage"}, nil
			}
		}
	}
	return t, nil
}

// rebuildFromType is (function, type, args, state): the tensor without its
// Python attributes.
func rebuildFromType(args tuple) (any, error) {
	if len(args) >= 3 {
		inner, ok := args[2].(tuple)
		if g, named := args[0].(*global); named && ok && g.module == "torch._utils" {
			switch g.name {
			case "_rebuild_tensor_v2":
				return rebuildTensorV2(inner)
			case "_rebuild_tensor_v3":
				return rebuildTensorV3(inner)
			case "_rebuild_parameter", "_rebuild_parameter_with_state":
				return newParameter(inner)
			}
		}
	}
	return nil, unsupported("tensor is made of %s", repr(args))
}
