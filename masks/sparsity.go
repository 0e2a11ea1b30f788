package masks

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Bounds on the text of a sparsity. They are far beyond any use, and keep
// "1e-999999999" from becoming a number of a billion digits.
const (
	maxSparsityText     = 64
	maxSparsityExponent = 64
)

// Sparsity is the fraction of weights to prune, an exact rational number in
// [0, 1). The zero value prunes nothing.
type Sparsity struct {
	rat  *big.Rat // nil: 0; never changed once set
	text string
}

// SyntaxError is a text that is no sparsity at all.
type SyntaxError struct {
	Text string
	Why  string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("masks: sparsity %s %s", strconv.Quote(clip(e.Text)), e.Why)
}

// RangeError is a number outside [0, 1).
type RangeError struct {
	Text  string
	value *big.Rat
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("masks: sparsity %s is outside [0, 1)", e.Text)
}

// Percent returns the fraction that was meant if the number was meant as a
// percentage: "0.75" for 75. It returns "" if that is outside [0, 1) too or
// has no finite decimal form.
func (e *RangeError) Percent() string {
	v := new(big.Rat).Quo(e.value, big.NewRat(100, 1))
	if !inRange(v) {
		return ""
	}
	// A finite decimal of a text this short has at most these digits.
	const digits = 2*maxSparsityText + maxSparsityExponent
	s := v.FloatString(digits)
	if back, ok := new(big.Rat).SetString(s); !ok || back.Cmp(v) != 0 {
		return ""
	}
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func inRange(v *big.Rat) bool { return v.Sign() >= 0 && v.Cmp(big.NewRat(1, 1)) < 0 }

// clip shortens a text for an error message.
func clip(s string) string {
	if len(s) > maxSparsityText {
		return s[:maxSparsityText] + "..."
	}
	return s
}

// ParseSparsity reads a decimal fraction ("0.75", ".75", "7.5e-1") or a
// quotient of two whole numbers ("2/3"), exactly.
//
// The text is at most 64 bytes and the exponent at most 64 in size. The error
// is a *RangeError for a number outside [0, 1) and a *SyntaxError for
// everything else: a percent sign, NaN, Inf, hexadecimal, underscores, blanks.
func ParseSparsity(text string) (Sparsity, error) {
	if len(text) > maxSparsityText {
		return Sparsity{}, &SyntaxError{text, fmt.Sprintf("is %d bytes, limit %d", len(text), maxSparsityText)}
	}
	v, why := parseRat(text)
	if why != "" {
		return Sparsity{}, &SyntaxError{text, why}
	}
	if !inRange(v) {
		return Sparsity{}, &RangeError{text, v}
	}
	return Sparsity{rat: v, text: text}, nil
}

// parseRat returns the number that text writes, or why it writes none.
func parseRat(text string) (v *big.Rat, why string) {
	const notNumber = "is not a number such as 0.75"
	body, negative := strings.CutPrefix(text, "-")
	if num, den, ok := strings.Cut(body, "/"); ok {
		if !digitsOnly(num) || !digitsOnly(den) {
			return nil, "is not a quotient of two whole numbers"
		}
		d := integer(den)
		if d.Sign() == 0 {
			return nil, "divides by zero"
		}
		v = new(big.Rat).SetFrac(integer(num), d)
	} else {
		mantissa, exp := body, 0
		if i := strings.IndexAny(body, "eE"); i >= 0 {
			mantissa = body[:i]
			e := body[i+1:]
			if !digitsOnly(e) && !(e != "" && (e[0] == '+' || e[0] == '-') && digitsOnly(e[1:])) {
				return nil, notNumber
			}
			n, err := strconv.Atoi(e)
			if err != nil || n > maxSparsityExponent || n < -maxSparsityExponent {
				return nil, fmt.Sprintf("has exponent %s, limit %d in size", e, maxSparsityExponent)
			}
			exp = n
		}
		whole, frac, dot := strings.Cut(mantissa, ".")
		if !digitsOnly(whole+frac) || dot && strings.Contains(frac, ".") {
			return nil, notNumber
		}
		v = new(big.Rat).SetInt(integer(whole + frac))
		exp -= len(frac)
		power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exp, -exp))), nil)
		if exp < 0 {
			v.Quo(v, new(big.Rat).SetInt(power))
		} else {
			v.Mul(v, new(big.Rat).SetInt(power))
		}
	}
	if negative {
		v.Neg(v)
	}
	return v, ""
}

// digitsOnly reports whether s is one or more ASCII digits.
func digitsOnly(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// integer returns the value of a string of ASCII digits.
func integer(digits string) *big.Int {
	n, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		panic("masks: not a string of digits")
	}
	return n
}

// Pruned returns S * total, rounded half up, without any rounding before that.
func (s Sparsity) Pruned(total int) int {
	if s.rat == nil {
		return 0
	}
	// floor(S*total + 1/2) = floor((2*num*total + den) / (2*den))
	n := new(big.Int).Mul(s.rat.Num(), big.NewInt(int64(total)))
	n.Lsh(n, 1).Add(n, s.rat.Denom())
	n.Quo(n, new(big.Int).Lsh(s.rat.Denom(), 1))
	return int(n.Int64())
}

// Kept returns total - Pruned(total).
func (s Sparsity) Kept(total int) int { return total - s.Pruned(total) }

// Float64 returns the float64 nearest to the sparsity.
func (s Sparsity) Float64() float64 {
	if s.rat == nil {
		return 0
	}
	f, _ := s.rat.Float64()
	return f
}

// String returns the sparsity as it was typed.
func (s Sparsity) String() string {
	if s.rat == nil {
		return "0"
	}
	return s.text
}
