package gpt_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/spdfctl/spdfctl/train/gpt"
)

// TestInterrupt ends a training pass at every place where it asks, and steps of
// the decoders: the weights stay, and the next pass is that of a fresh model.
func TestInterrupt(t *testing.T) {
	enough := errors.New("enough")
	c := gpt.Config{VocabSize: 13, NCtx: 6, NEmbd: 8, NLayer: 2, NHead: 2}.WithDefaults()
	m, err := gpt.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(1)
	ids := []int32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	var before [][]float32
	for _, p := range m.Params {
		before = append(before, slices.Clone(p.W))
	}
	passes := map[string]func() (float64, error){
		"gradient": func() (float64, error) {
			m.ZeroGrad()
			l, _, err := m.LossAndGrad(ids, ids, 2, 6, 1)
			return l, err
		},
		"loss": func() (float64, error) {
			l, _, err := m.Loss(ids, ids, 2, 6)
			return l, err
		},
	}
	for name, pass := range passes {
		asked := 0
		m.Interrupt(func() error { asked++; return nil })
		want, err := pass()
		if err != nil || asked < 3 {
			t.Fatalf("%s: asked %d times, %v", name, asked, err)
		}
		for stop := range asked {
			n := 0
			m.Interrupt(func() error {
				if n++; n > stop {
					return enough
				}
				return nil
			})
			if _, err := pass(); err != enough || n != stop+1 {
				t.Errorf("%s: ended at question %d: %v, asked %d times", name, stop+1, err, n)
			}
		}
		m.Interrupt(nil)
		if got, err := pass(); got != want || err != nil {
			t.Errorf("%s after interrupts is %g, %v, before %g", name, got, err, want)
		}
	}
	for i, p := range m.Params {
		if !slices.Equal(p.W, before[i]) {
			t.Errorf("%s has changed", p.Name)
		}
	}
	stop := func() error { return enough }
	d, b := m.NewDecoder(), m.NewBatchDecoder()
	d.Interrupt(stop)
	b.Interrupt(stop)
	if _, err := d.Prefill(ids[:3]); err != enough {
		t.Errorf("decoder: %v", err)
	}
	if _, err := b.Step([]gpt.Input{{Text: b.NewText(), IDs: ids[:3]}}); err != enough {
		t.Errorf("batch decoder: %v", err)
	}
}
