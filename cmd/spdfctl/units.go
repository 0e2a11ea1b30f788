package main

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"

	"github.com/spf13/pflag"
)

// countUnits are the suffixes of counts: powers of 1000, and with an i of 1024.
var countUnits = map[string]int64{
	"":   1,
	"k":  1e3,
	"m":  1e6,
	"b":  1e9,
	"g":  1e9,
	"t":  1e12,
	"ki": 1 << 10,
	"mi": 1 << 20,
	"gi": 1 << 30,
	"ti": 1 << 40,
}

// countPattern bounds the length of every part, so that big.Rat stays small.
var countPattern = regexp.MustCompile(`^([0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE]\+?[0-9]{1,2})?)([A-Za-z]{0,2})$`)

// maxCount keeps sums and products of a few counts inside an int64.
const maxCount = 1 << 60

// parseCount reads a count such as 1000, 2.5B, 26e9 or 512Ki, exactly. K, M, B
// (or G) and T are powers of 1000, Ki, Mi, Gi and Ti of 1024, in either case of
// letters. The value must be whole and at most 2^60.
func parseCount(s string) (int64, error) {
	parts := countPattern.FindStringSubmatch(strings.TrimSpace(s))
	if parts == nil {
		return 0, fmt.Errorf("%q is not a count such as 1000, 2.5B, 26e9 or 512Ki", s)
	}
	unit, ok := countUnits[strings.ToLower(parts[2])]
	if !ok {
		return 0, fmt.Errorf("%q: unknown unit %q, want K, M, B, G, T, Ki, Mi, Gi or Ti", s, parts[2])
	}
	value, ok := new(big.Rat).SetString(parts[1])
	if !ok {
		return 0, fmt.Errorf("%q is not a count such as 1000, 2.5B, 26e9 or 512Ki", s)
	}
	value.Mul(value, new(big.Rat).SetInt64(unit))
	if !value.IsInt() {
		return 0, fmt.Errorf("%q is %s, not a whole number", s, value.FloatString(3))
	}
	if n := value.Num(); n.IsInt64() && n.Int64() <= maxCount {
		return n.Int64(), nil
	}
	return 0, fmt.Errorf("%q is above %d, the limit", s, int64(maxCount))
}

// countValue is a flag whose value parseCount reads.
type countValue int64

func (v *countValue) Set(s string) error {
	n, err := parseCount(s)
	if err != nil {
		return err
	}
	*v = countValue(n)
	return nil
}

func (v *countValue) String() string { return fmt.Sprint(int64(*v)) }
func (v *countValue) Type() string   { return "count" }

// countVar defines a flag that accepts counts such as 2.5B.
func countVar(f *pflag.FlagSet, p *int64, name string, value int64, usage string) {
	*p = value
	f.Var((*countValue)(p), name, usage)
}
