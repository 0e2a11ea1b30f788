package masks_test

import (
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spdfctl/spdfctl/masks"
)

func TestMaskBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		out, in := rapid.IntRange(1, 12).Draw(t, "out"), rapid.IntRange(1, 40).Draw(t, "in")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		m := masks.New("w", "", out, in)
		want := make([]bool, out*in)
		for range 2 * out * in {
			e, keep := rng.IntN(out*in), rng.IntN(3) == 0
			m.Put(e/in, e%in, keep)
			want[e] = keep
		}
		var (
			kept   = 0
			rows   = make([]bool, out)
			cols   = make([]bool, in)
			packed = make([]byte, (out*in+7)/8)
		)
		for e, keep := range want {
			i, j := e/in, e%in
			if m.Keep(i, j) != keep {
				t.Fatalf("(%d, %d) is %v, want %v", i, j, m.Keep(i, j), keep)
			}
			if keep {
				kept++
				rows[i], cols[j] = true, true
				packed[e/8] |= 1 << (e % 8)
			}
		}
		count := func(list []bool) int {
			n := 0
			for _, alive := range list {
				if !alive {
					n++
				}
			}
			return n
		}
		for _, c := range []struct {
			what      string
			got, want int
		}{
			{"Kept", m.Kept(), kept},
			{"Total", m.Total(), out * in},
			{"Stride", m.Stride(), (in + 7) / 8},
			{"len(Bits)", len(m.Bits), out * ((in + 7) / 8)},
			{"DeadRows", m.DeadRows(), count(rows)},
			{"DeadColumns", m.DeadColumns(), count(cols)},
			{"PaddingRow", m.PaddingRow(), -1},
		} {
			if c.got != c.want {
				t.Errorf("(%d, %d): %s is %d, want %d", out, in, c.what, c.got, c.want)
			}
		}
		if got, want := m.SHA256(), sha256.Sum256(packed); got != want {
			t.Errorf("(%d, %d): SHA-256 %x, want %x", out, in, got, want)
		}
		if err := m.Check(); err != nil {
			t.Error(err)
		}
	})
}

// The buffer of SHA256 is filled more than once.
func TestMaskSHA256Long(t *testing.T) {
	m, err := masks.RandomMask(masks.Target{Name: "w", Out: 977, In: 331}, 100000, 0)
	if err != nil {
		t.Fatal(err)
	}
	packed := make([]byte, (m.Total()+7)/8)
	for e := range m.Total() {
		if m.Keep(e/m.In, e%m.In) {
			packed[e/8] |= 1 << (e % 8)
		}
	}
	if got, want := m.SHA256(), sha256.Sum256(packed); got != want {
		t.Errorf("SHA-256 %x, want %x", got, want)
	}
}

func TestMaskCheck(t *testing.T) {
	for _, c := range []struct {
		what  string
		spoil func(*masks.Mask)
		want  string
	}{
		{"padding", func(m *masks.Mask) { m.Bits[3] |= 0x08 }, `masks: "w": row 1 has a bit set past column 10`},
		{"short", func(m *masks.Mask) { m.Bits = m.Bits[:5] }, `masks: "w": 5 bytes of bits, (3, 11) needs 6`},
		{"shape", func(m *masks.Mask) { m.In = 0 }, `masks: "w": shape (3, 0) is not 1 to 1099511627776 weights`},
		{"name", func(m *masks.Mask) { m.Name = "" }, `masks: empty name`},
	} {
		m := masks.New("w", "", 3, 11)
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		c.spoil(m)
		if err := m.Check(); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.what, err, c.want)
		}
	}
}

func TestOverlap(t *testing.T) {
	a, b := masks.New("w", "", 2, 9), masks.New("w", "", 2, 9)
	a.Put(0, 0, true)
	a.Put(0, 8, true)
	a.Put(1, 3, true)
	b.Put(0, 8, true)
	b.Put(1, 8, true)
	if both, onlyA, onlyB := a.Overlap(b); both != 1 || onlyA != 2 || onlyB != 1 {
		t.Errorf("both %d, only a %d, only b %d, want 1, 2, 1", both, onlyA, onlyB)
	}
	if a.Equal(b) || !a.Equal(a) {
		t.Error("Equal is wrong")
	}
}

func TestCompareNames(t *testing.T) {
	sorted := []string{
		"", "0", "00", "0a", "01", "1", "2", "10", "18446744073709551616", "a", "h.02.w", "h.2.w", "h.10.w", "h.10.w#k", "h.10.w#q",
		"h.10.x", "ln", "ln_f", "wte",
	}
	for i, a := range sorted {
		for j, b := range sorted {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := masks.CompareNames(a, b); got != want {
				t.Errorf("%q and %q compare as %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestCompareNamesIsAnOrder(t *testing.T) {
	name := rapid.StringMatching(`[0-2ah.]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := name.Draw(t, "a"), name.Draw(t, "b"), name.Draw(t, "c")
		if masks.CompareNames(a, b) != -masks.CompareNames(b, a) || (masks.CompareNames(a, b) == 0) != (a == b) {
			t.Fatalf("%q and %q compare as %d and %d", a, b, masks.CompareNames(a, b), masks.CompareNames(b, a))
		}
		list := []string{a, b, c}
		slices.SortFunc(list, masks.CompareNames)
		if masks.CompareNames(list[0], list[2]) > 0 {
			t.Fatalf("not transitive: %q", list)
		}
	})
}

func TestSet(t *testing.T) {
	a, b, c := masks.New("h.2", "", 2, 4), masks.New("h.10", "q", 1, 4), masks.New("h.10", "k", 1, 4)
	a.Put(1, 1, true)
	c.Put(0, 3, true)
	s, err := masks.NewSet([]*masks.Mask{b, c, a}, masks.Recipe{Method: "random"}, 64)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, m := range s.Masks {
		keys = append(keys, m.Key())
	}
	if got := strings.Join(keys, " "); got != "h.2 h.10#k h.10#q" {
		t.Errorf("order %q", got)
	}
	if s.Kept() != 2 || s.Total() != 16 || s.Sparsity() != 14.0/16 {
		t.Errorf("kept %d of %d, sparsity %g", s.Kept(), s.Total(), s.Sparsity())
	}
	if overall, ok := s.OverallSparsity(); !ok || overall != 14.0/64 {
		t.Errorf("overall sparsity %g, %v", overall, ok)
	}
	if s.Find("h.10", "q") != b || s.Find("h.10", "") != nil || s.Find("h.2", "") != a {
		t.Error("Find is wrong")
	}
	s.Parameters = 0
	if _, ok := s.OverallSparsity(); ok {
		t.Error("overall sparsity of an unknown number of parameters")
	}
	s.Parameters = 15
	if s.Check() == nil {
		t.Error("15 parameters, 16 of them masked: no error")
	}
	s.Parameters = 16
	s.Masks[0], s.Masks[1] = s.Masks[1], s.Masks[0]
	if s.Check() == nil {
		t.Error("masks out of order: no error")
	}
}

func TestUniformCstorch(t *testing.T) {
	for _, c := range []struct {
		out, in      int
		sparsity     string
		kept         int
		uniform      int
		explanations string
	}{
		{768, 768, "0.75", 147456, 147456, "whole in float32 and exactly"},
		{7, 11, "0.75", 19, 19, "19.25 cut off"},
		{3, 5, "0.75", 3, 4, "3.75 cut off; 11.25 pruned is 11"},
		{10, 10, "0.9", 10, 10, "1-float32(0.9) is above 0.1"},
		{10, 10, "0.8", 19, 20, "1-float32(0.8) is 0.19999999"},
		{10, 10, "0.7", 30, 30, "1-float32(0.7) is 0.30000001"},
		{4099, 4099, "0.5", 8400900, 8400900, "16801801 is not a float32"},
		{10, 10, "0", 100, 100, ""},
	} {
		target := []masks.Target{{Name: "w", Out: c.out, In: c.in}}
		got, err := masks.UniformCstorch(target, sparsity(t, c.sparsity))
		if err != nil {
			t.Fatal(err)
		}
		if got[0] != c.kept {
			t.Errorf("(%d, %d) at %s: cstorch keeps %d, want %d (%s)", c.out, c.in, c.sparsity, got[0], c.kept, c.explanations)
		}
		if u := masks.Uniform(target, sparsity(t, c.sparsity))[0]; u != c.uniform {
			t.Errorf("(%d, %d) at %s: exactly %d kept, want %d", c.out, c.in, c.sparsity, u, c.uniform)
		}
	}
	for _, c := range []struct {
		what    string
		out, in int
	}{
		{"2^24+3 rounds up to 2^24+4", 1, 1<<24 + 3},
		{"past int32", 1 << 16, 1 << 16},
	} {
		if _, err := masks.UniformCstorch([]masks.Target{{Name: "w", Out: c.out, In: c.in}}, sparsity(t, "0")); err == nil {
			t.Errorf("%s: no error", c.what)
		}
	}
}

func TestTransposed(t *testing.T) {
	for _, shape := range [][2]int{{1, 1}, {8, 8}, {7, 19}, {33, 16}, {1, 70}} {
		m, err := masks.RandomMask(masks.Target{Name: "w", Part: "q", Out: shape[0], In: shape[1]}, shape[0]*shape[1]/2, 1)
		if err != nil {
			t.Fatal(err)
		}
		o := m.Transposed()
		if err := o.Check(); err != nil || o.Out != m.In || o.In != m.Out || o.Key() != m.Key() {
			t.Fatalf("%v: %v", shape, err)
		}
		for i := range m.Out {
			for j := range m.In {
				if o.Keep(j, i) != m.Keep(i, j) {
					t.Errorf("%v: (%d, %d) differs", shape, i, j)
				}
			}
		}
	}
}
