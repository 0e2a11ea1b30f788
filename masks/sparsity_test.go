package masks_test

import (
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spdfctl/spdfctl/masks"
)

func TestParseSparsity(t *testing.T) {
	for _, c := range []struct {
		text    string
		float   float64
		total   int
		pruned  int
		explain string
	}{
		{"0", 0, 10, 0, ""},
		{"-0", 0, 10, 0, ""},
		{"0.", 0, 10, 0, ""},
		{"0.75", 0.75, 589824, 442368, ""},
		{".75", 0.75, 10, 8, "7.5 up"},
		{"7.5e-1", 0.75, 2, 2, "1.5 up"},
		{"75E-2", 0.75, 1, 1, "0.75 up"},
		{"0.075e+1", 0.75, 3, 2, "2.25 down"},
		{"3/4", 0.75, 4, 3, ""},
		{"02/08", 0.25, 4, 1, "no octal"},
		{"2/3", 2.0 / 3, 3, 2, "exact, where 0.6666666666666666 is not"},
		{"0.1", 0.1, 5, 1, "0.5 up; 0.1 is not a float"},
		{"0.3", 0.3, 5, 2, "1.5 up"},
		{"0.7", 0.7, 15, 11, "10.5 up; float64 says 10.5 exactly by luck"},
		{"0.29", 0.29, 50, 15, "14.5 up; float64 says 14.499999999999998"},
		{"0.5", 0.5, 1, 1, "half up"},
		{"0.999999999999999999", 1, 1 << 40, 1 << 40, "rounds to all"},
		{"0.000000000001", 1e-12, 1 << 40, 1, "1.0995"},
		{"1e-64", 1e-64, 1 << 40, 0, ""},
	} {
		s, err := masks.ParseSparsity(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if got := s.Pruned(c.total); got != c.pruned {
			t.Errorf("%s of %d prunes %d, want %d %s", c.text, c.total, got, c.pruned, c.explain)
		}
		if got := s.Kept(c.total); got != c.total-c.pruned {
			t.Errorf("%s of %d keeps %d, want %d", c.text, c.total, got, c.total-c.pruned)
		}
		if got := s.Float64(); got != c.float {
			t.Errorf("%s is %g, want %g", c.text, got, c.float)
		}
		if s.String() != c.text {
			t.Errorf("%s prints as %s", c.text, s)
		}
	}
	var zero masks.Sparsity
	if zero.Pruned(5) != 0 || zero.String() != "0" || zero.Float64() != 0 {
		t.Errorf("the zero value prunes %d of 5 and prints as %s", zero.Pruned(5), zero)
	}
}

func TestParseSparsityRange(t *testing.T) {
	for _, c := range []struct{ text, percent string }{
		{"75", "0.75"}, {"62.5", "0.625"}, {"50.0", "0.5"}, {"1", "0.01"}, {"99.99999999999999999", "0.9999999999999999999"},
		{"75e0", "0.75"}, {"100", ""}, {"750", ""}, {"-0.5", ""}, {"-75", ""}, {"200/3", ""}, {"3/2", "0.015"}, {"1e64", ""},
	} {
		_, err := masks.ParseSparsity(c.text)
		var out *masks.RangeError
		if !errors.As(err, &out) {
			t.Errorf("%q: %v, want a RangeError", c.text, err)
			continue
		}
		if got := out.Percent(); got != c.percent {
			t.Errorf("%q as a percentage is %q, want %q", c.text, got, c.percent)
		}
		if want := "masks: sparsity " + c.text + " is outside [0, 1)"; err.Error() != want {
			t.Errorf("%q: %q, want %q", c.text, err, want)
		}
	}
}

func TestParseSparsitySyntax(t *testing.T) {
	for _, text := range []string{
		"", " ", ".", "-", "-.", "e", "e5", ".e5", "1e", "1e+", "1e-", "1e+-1", "1e--1", "0.5e1.0", "0..5", "0.5.", "--0.5", "-+0.5", "+0.5",
		" 0.5", "0.5 ", "0.5\n", "0,5", "75%", "0.75%", "NaN", "nan", "Inf", "-inf", "infinity", "0x1p-1", "0b1", "0_1", "1_0", "½", "٠.٥",
		"1/", "/2", "1/0", "0/0", "1/2/3", "1/-2", "0.5/2", "1e0/2", "1e65", "1e-65", "1e-999999999", "1e999999999",
		"1e99999999999999999999", "0e99999", "null", "0.5\x00", "\xff", strings.Repeat("0", 65), "0." + strings.Repeat("1", 1<<20),
	} {
		start := time.Now()
		_, err := masks.ParseSparsity(text)
		var syntax *masks.SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%.80q: %v, want a SyntaxError", text, err)
			continue
		}
		if len(err.Error()) > 1000 {
			t.Errorf("%.80q: message of %d bytes", text, len(err.Error()))
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%.80q took %v", text, took)
		}
	}
}

// The slow twin of Pruned: the decimal as a rational, floor(S*n + 1/2).
func TestPrunedExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := "0." + rapid.StringMatching(`[0-9]{1,20}`).Draw(t, "digits")
		total := rapid.IntRange(0, 1<<40).Draw(t, "total")
		s, err := masks.ParseSparsity(text)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := new(big.Rat).SetString(text)
		r.Mul(r, new(big.Rat).SetInt64(int64(total))).Add(r, big.NewRat(1, 2))
		want := new(big.Int).Quo(r.Num(), r.Denom()).Int64()
		if got := s.Pruned(total); int64(got) != want {
			t.Fatalf("%s of %d prunes %d, want %d", text, total, got, want)
		}
	})
}

func FuzzParseSparsity(f *testing.F) {
	for _, text := range []string{"0.75", ".5", "7.5e-1", "3/4", "75", "-1", "NaN", "1e-999999999", "75%", "0/08"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := masks.ParseSparsity(text)
		if err != nil {
			var (
				out    *masks.RangeError
				syntax *masks.SyntaxError
			)
			if errors.As(err, &out) {
				out.Percent()
			} else if !errors.As(err, &syntax) {
				t.Errorf("%q: untyped error %v", text, err)
			}
			return
		}
		if s.String() != text || s.Float64() < 0 || s.Float64() > 1 {
			t.Errorf("%q reads as %s, %g", text, s, s.Float64())
		}
		// In a quotient math/big takes a leading 0 for octal.
		if r, ok := new(big.Rat).SetString(text); !strings.Contains(text, "/") && (!ok || r.Sign() < 0 || r.Cmp(big.NewRat(1, 1)) >= 0) {
			t.Errorf("%q is accepted, math/big says %v", text, r)
		}
		if p := s.Pruned(1 << 40); p < 0 || p > 1<<40 {
			t.Errorf("%q prunes %d", text, p)
		}
	})
}
