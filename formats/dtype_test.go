package formats_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats"
)

// The order decides the layout of every file written: changing it is a visible diff.
func TestDTypes(t *testing.T) {
	want := []struct {
		d    formats.DType
		bits int
	}{
		{"BOOL", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8}, {"I8", 8},
		{"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
		{"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16}, {"I32", 32}, {"U32", 32},
		{"F32", 32}, {"C64", 64}, {"F64", 64}, {"I64", 64}, {"U64", 64},
	}
	var order []formats.DType
	for _, w := range want {
		order = append(order, w.d)
		if got := w.d.Bits(); got != w.bits {
			t.Errorf("%s: got %d bits, want %d", w.d, got, w.bits)
		}
	}
	if diff := cmp.Diff(formats.DTypes(), order); diff != "" {
		t.Errorf("order (-got +want):\n%s", diff)
	}
	for _, d := range []formats.DType{"", "f32", "F32 ", "F128"} {
		if got := d.Bits(); got != 0 {
			t.Errorf("%q: got %d bits, want 0", d, got)
		}
	}
}

func TestInfoNumBytes(t *testing.T) {
	const big = math.MaxInt
	tests := []struct {
		name  string
		info  formats.Info
		want  int64
		fault string
	}{
		{"scalar", formats.Info{DType: "F32"}, 4, ""},
		{"scalar with a shape", formats.Info{DType: "F64", Shape: []int{}}, 8, ""},
		{"matrix", formats.Info{DType: "BF16", Shape: []int{3, 5}}, 30, ""},
		{"empty", formats.Info{DType: "F32", Shape: []int{3, 0, 5}}, 0, ""},
		{"complex", formats.Info{DType: "C64", Shape: []int{3}}, 24, ""},
		{"packed", formats.Info{DType: "F6_E2M3", Shape: []int{2, 4}}, 6, ""},
		{"packed with a rest", formats.Info{DType: "F4", Shape: []int{3}}, 0, "F4 (3) takes 12 bits, which is not a whole number of bytes"},
		{"negative", formats.Info{DType: "F32", Shape: []int{2, -1}}, 0, "shape (2, -1) has a negative dimension"},
		{"unknown", formats.Info{DType: "F7", Shape: []int{2}}, 0, `dtype "F7" is unknown`},
		{"elements overflow", formats.Info{DType: "F4", Shape: []int{big, big}}, 0, "has more than 9223372036854775807 elements"},
		{"elements overflow before a zero", formats.Info{DType: "F4", Shape: []int{big, big, big, 0}}, 0, "has more than 9223372036854775807 elements"},
		{"bits overflow", formats.Info{DType: "F64", Shape: []int{1 << 30, 1 << 30}}, 0, "F64 (1073741824, 1073741824) takes more than 9223372036854775807 bits"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.info.NumBytes()
			switch {
			case test.fault == "" && err != nil:
				t.Fatal(err)
			case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
				t.Fatalf("got error %v, want %q", err, test.fault)
			case got != test.want:
				t.Errorf("got %d bytes, want %d", got, test.want)
			}
		})
	}
}
