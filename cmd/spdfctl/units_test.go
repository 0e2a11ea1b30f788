package main

import (
	"strings"
	"testing"
)

func TestParseCount(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want int64
	}{
		{"0", 0},
		{"1000", 1000},
		{" 7 ", 7},
		{"2.5B", 2_500_000_000},
		{"2.5b", 2_500_000_000},
		{"26e9", 26_000_000_000},
		{"1e+3", 1000},
		{"2.5e9", 2_500_000_000},
		{"512Ki", 512 << 10},
		{"0.5Mi", 1 << 19},
		{"1.5k", 1500},
		{"3G", 3_000_000_000},
		{"2Gi", 2 << 30},
		{"1T", 1_000_000_000_000},
		{"1Ti", 1 << 40},
		{"1152921504606846976", 1 << 60},
	} {
		got, err := parseCount(tc.in)
		if err != nil || got != tc.want {
			t.Errorf("parseCount(%q) = %d, %v, want %d", tc.in, got, err, tc.want)
		}
	}
}

func TestParseCountRejects(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", "is not a count"},
		{"-1", "is not a count"},
		{"1/2", "is not a count"},
		{"0x10", "is not a count"},
		{"1_000", "is not a count"},
		{"NaN", "is not a count"},
		{"1e-3", "is not a count"},
		{"1e999999999", "is not a count"},
		{strings.Repeat("9", 21), "is not a count"},
		{"2.5", "is 2.500, not a whole number"},
		{"1.0001K", "not a whole number"},
		{"3Q", `unknown unit "Q"`},
		{"3KB", `unknown unit "KB"`},
		{"1152921504606846977", "is above 1152921504606846976, the limit"},
		{"9e99", "is above"},
		{"10000000T", "is above"},
	} {
		got, err := parseCount(tc.in)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("parseCount(%q) = %d, %v, want an error with %q", tc.in, got, err, tc.want)
		}
	}
}
