package convert

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

// casting returns a tensor whose elements are cast when it is written. The loss
// is noted under the name, if that is not empty.
func (p *Plan) casting(t stored.Tensor, to formats.DType, note string) stored.Tensor {
	out := t
	out.DType = to
	elements, _ := t.NumElements()
	out.Bytes, out.Offset, out.Range = elements*int64(to.Bits()/8), -1, nil
	out.WriteTo = func(w io.Writer) error {
		c := newCaster(w, t.DType, to)
		if err := t.Emit(c); err != nil {
			return err
		}
		if note != "" {
			loss := c.loss
			loss.Name, loss.From, loss.To = note, t.DType, to
			p.mu.Lock()
			p.losses[note] = loss
			p.mu.Unlock()
		}
		return nil
	}
	return out
}

// finish settles the element types and makes the tensors to be written.
func (p *Plan) finish() error {
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if o.parts != nil {
			if err := p.finishParts(o); err != nil {
				return fmt.Errorf("convert: %w", err)
			}
		}
		o.tensor.Name = o.Name
		to, err := p.typeOf(o)
		if err != nil {
			return err
		}
		if to != o.tensor.DType {
			if err := castable(o.Name, o.tensor.DType, to); err != nil {
				return err
			}
			o.cast = o.tensor.DType
			note := o.Name
			if o.silent {
				note = ""
			}
			o.tensor = p.casting(o.tensor, to, note)
		}
		o.Info, o.Bytes = o.tensor.Info, o.tensor.Bytes
		p.Bytes += o.Bytes
		p.Memory = max(p.Memory, o.Memory)
	}
	if p.Options.To == LLMC {
		return p.oneType()
	}
	return nil
}

// finishParts turns parts into a tensor: the source itself, if it is all of it
// in the same order.
func (p *Plan) finishParts(o *Output) error {
	if t, ok := o.isOne(); ok {
		o.tensor = t
		o.tensor.Info = o.Info
		o.parts = nil
		return nil
	}
	a, err := newAssembly(o.Info, o.parts, p.buffer)
	if err != nil {
		return err
	}
	o.tensor, o.Memory = a.tensor(), a.memory()
	return nil
}

// isOne reports whether the parts make up one tensor, all of it, in its order.
func (o *Output) isOne() (stored.Tensor, bool) {
	if len(o.parts) == 0 {
		return stored.Tensor{}, false
	}
	t := o.parts[0].source
	whole, covered := stored.RowMajor(o.Shape).Elements(), 0
	for _, p := range o.parts {
		straight := p.from.Contiguous() && p.to.Contiguous() && p.from.Offset == p.to.Offset
		alike := p.from.Offset == p.to.Offset && slices.Equal(p.from.Strides, p.to.Strides)
		if p.source.Name != t.Name || !straight && !alike {
			return stored.Tensor{}, false
		}
		covered += p.from.Elements()
	}
	return t, covered == whole && int64(whole*t.DType.Bits()/8) == t.Bytes
}

// typeOf returns the element type that an output gets.
func (p *Plan) typeOf(o *Output) (formats.DType, error) {
	d := o.tensor.DType
	if !isFloat(d) {
		if d.Bits() == 0 && p.Options.To != GGUF {
			return "", fmt.Errorf("convert: tensor %q: %s is read by name and bytes only, it cannot be dequantised here: %w", o.Name, d, ErrUnsupported)
		}
		return d, nil
	}
	to := p.Options.DType
	// What was widened for a format becomes what it was.
	was := formats.DType("")
	for _, from := range o.From {
		if n, ok := p.Source.narrow[from]; ok && (was == "" || was == n) {
			was = n
		}
	}
	vectors := p.Options.To == GGUF && p.Layout == "gguf" && len(o.Shape) < 2
	switch {
	case vectors:
		// llama.cpp computes with biases and norms in F32.
		if to == "" && d != formats.F32 && canEncode(d) {
			o.narrow, o.silent = d, true
		} else if was != "" && to == "" {
			o.narrow = was
		}
		return formats.F32, nil
	case to != "":
		return to, nil
	case was != "" && p.Options.To == GGUF:
		o.narrow = was
	case was != "" && canEncode(was):
		o.silent = true
		return was, nil
	case d.Bits() == 0 && p.Options.To != GGUF:
		return formats.F32, nil // dequantised
	}
	return d, nil
}

// oneType casts everything to the one type that a file of llm.c has.
func (p *Plan) oneType() error {
	to := p.Options.DType
	if to == "" {
		to = formats.BF16
		for _, o := range p.Outputs {
			if o.DType != formats.BF16 {
				to = formats.F32
			}
		}
	}
	p.Bytes = 0
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if o.DType != to {
			if err := castable(o.Name, o.DType, to); err != nil {
				return err
			}
			o.cast = cmp.Or(o.cast, o.DType)
			o.tensor = p.casting(o.tensor, to, o.Name)
		}
		o.Info, o.Bytes = o.tensor.Info, o.tensor.Bytes
		p.Bytes += o.Bytes
	}
	return nil
}
