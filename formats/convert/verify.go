package convert

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/spdfctl/spdfctl/formats/stored"
)

// Difference is a tensor of the result that is not what the plan says.
type Difference struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Verify reads what Write has written at path and compares every tensor with
// what the source gives: its type, its shape and the SHA-256 of its bytes. It
// returns the differences.
func (p *Plan) Verify(ctx context.Context, path string, progress func(done int64)) ([]Difference, error) {
	c, err := Open(path, OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	prefix := ""
	if p.nested {
		prefix = "model."
	}
	have := make(map[string]stored.Tensor)
	for _, t := range c.Tensors {
		have[t.Name] = t
	}
	var differences []Difference
	done := int64(0)
	for _, o := range p.Outputs {
		for _, name := range append([]string{o.Name}, o.Aliases...) {
			t, ok := have[prefix+name]
			if !ok && name != o.Name {
				if !slices.ContainsFunc(c.Aliases, func(group []string) bool {
					return slices.Contains(group, prefix+name) && slices.Contains(group, prefix+o.Name)
				}) {
					differences = append(differences, Difference{name, "is not in the result, as another name of " + o.Name})
				}
				continue
			}
			delete(have, prefix+name)
			reason, err := p.compare(o, t, ok)
			if err != nil {
				return nil, err
			}
			if reason != "" {
				differences = append(differences, Difference{name, reason})
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		done += o.Bytes
		if progress != nil {
			progress(done)
		}
	}
	for _, t := range c.Tensors {
		if _, ok := have[t.Name]; ok {
			differences = append(differences, Difference{t.Name, "is in the result, but not in the plan"})
		}
	}
	return differences, nil
}

// compare says in which way a tensor differs from an output.
func (p *Plan) compare(o Output, t stored.Tensor, ok bool) (string, error) {
	if !ok {
		return "is not in the result", nil
	}
	if t.Info.String() != o.Info.String() {
		return fmt.Sprintf("is %s, want %s", t.Info, o.Info), nil
	}
	var want, got []byte
	var wantErr, gotErr error
	each(2, func(k int) {
		if k == 0 {
			want, wantErr = digest(o.tensor)
		} else {
			got, gotErr = digest(t)
		}
	})
	if wantErr != nil {
		return "", wantErr
	}
	if gotErr != nil {
		return "", gotErr
	}
	if !bytes.Equal(want, got) {
		return fmt.Sprintf("has the SHA-256 %x, want %x", got, want), nil
	}
	return "", nil
}
