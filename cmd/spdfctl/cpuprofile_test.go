package main

import (
	"maps"
	"testing"
	"time"
)

// TestProfileKernels finds the function that does the work.
func TestProfileKernels(t *testing.T) {
	list, err := profileKernels(func() error {
		spin(200 * time.Millisecond)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	share := 0.0
	for _, k := range list {
		share += k.Percent
	}
	if len(list) > 0 && (share < 99 || share > 101) {
		t.Errorf("the shares add up to %g", share)
	}
}

//go:noinline
func spin(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
	}
}

// TestLeafTimes reads a profile written by hand: two samples of 3 and 4 in
// function "b", inlined into "a", one of 5 in "a".
func TestLeafTimes(t *testing.T) {
	data := []byte{
		0x32, 0, // strings: "", "a", "b"
		0x32, 1, 'a',
		0x32, 1, 'b',
		0x12, 6, 0x0a, 1, 7, 0x12, 1, 3, // sample: location 7, packed
		0x12, 4, 0x08, 7, 0x10, 4, // the same, not packed
		0x12, 8, 0x0a, 2, 8, 7, 0x12, 2, 1, 5, // locations 8, 7; values 1, 5
		0x22, 10, 0x08, 7, 0x22, 2, 0x08, 2, 0x22, 2, 0x08, 1, // location 7: function 2 in 1
		0x22, 6, 0x08, 8, 0x22, 2, 0x08, 1, // location 8: function 1
		0x2a, 4, 0x08, 1, 0x10, 1, // function 1: "a"
		0x2a, 4, 0x08, 2, 0x10, 2,
	}
	got, err := leafTimes(data)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]int64{"a": 5, "b": 7}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for n := range data {
		leafTimes(data[:n]) // an error or less, never a panic
	}
	if _, err := leafTimes([]byte{0x0d, 1, 2, 3, 4}); err == nil {
		t.Error("a fixed 32-bit field is accepted")
	}
}
