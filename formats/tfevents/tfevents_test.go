package tfevents_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats/tfevents"
)

var update = flag.Bool("update", false, "rewrite the golden event file; run testdata/read.py on it afterwards")

// sample is what testdata/sample.tfevents holds.
func sample() []tfevents.Event {
	var weights []float32
	for i := range 1000 {
		weights = append(weights, float32(i*i%97-40)/8)
	}
	return []tfevents.Event{
		{WallTime: 1700000000.25, Version: tfevents.Version},
		{WallTime: 1700000000.5, Step: 11, Start: true},
		{WallTime: 1700000001, Step: 10, Values: []tfevents.Value{
			{Tag: "train/loss", Scalar: 3.25}, {Tag: "train/lr", Scalar: 6e-4}, {Tag: "sparsity/h.0.attn.c_attn.weight#q", Scalar: 0.75}}},
		{WallTime: 1700000002, Step: 1 << 40, Values: []tfevents.Value{
			{Tag: "weights/ä", Histogram: tfevents.NewHistogram(weights)},
			{Tag: "weights/one", Histogram: tfevents.NewHistogram([]float32{2, 2, 2})}}},
	}
}

// TestGolden compares the bytes written with a file that testdata/read.py, which
// shares no code with this package, has read, and the events with what it read.
func TestGolden(t *testing.T) {
	var got bytes.Buffer
	w := tfevents.NewWriter(&got)
	for _, e := range sample() {
		if err := w.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join("testdata", "sample.tfevents")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("wrote %d bytes that differ from the %d of %s", got.Len(), len(want), path)
	}
	var events []tfevents.Event
	if err := tfevents.ReadFile(path, func(e tfevents.Event) error { events = append(events, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(events, sample()); d != "" {
		t.Errorf("-got +want:\n%s", d)
	}
	text, err := os.ReadFile(path + ".json")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != len(events) {
		t.Fatalf("the independent reader found %d events, want %d", len(lines), len(events))
	}
	for i, line := range lines {
		var other struct {
			WallTime float64 `json:"wall_time"`
			Step     int64   `json:"step"`
			Version  string  `json:"version"`
			Start    bool    `json:"start"`
			Values   []struct {
				Tag       string  `json:"tag"`
				Scalar    float32 `json:"scalar"`
				Histogram *struct {
					Min, Max, Num, Sum float64
					SumSquares         float64 `json:"sum_squares"`
					Limits, Buckets    []float64
				} `json:"histogram"`
			} `json:"values"`
		}
		if err := json.Unmarshal([]byte(line), &other); err != nil {
			t.Fatal(err)
		}
		e := tfevents.Event{WallTime: other.WallTime, Step: other.Step, Version: other.Version, Start: other.Start}
		for _, v := range other.Values {
			value := tfevents.Value{Tag: v.Tag, Scalar: v.Scalar}
			if h := v.Histogram; h != nil {
				value.Histogram = &tfevents.Histogram{Min: h.Min, Max: h.Max, Num: h.Num, Sum: h.Sum, SumSquares: h.SumSquares, Limits: h.Limits, Buckets: h.Buckets}
			}
			e.Values = append(e.Values, value)
		}
		if d := cmp.Diff(e, events[i]); d != "" {
			t.Errorf("event %d: -independent reader +this one:\n%s", i, d)
		}
	}
}

func TestHistogram(t *testing.T) {
	values := []float32{-1, -1, 0, 3, float32(math.NaN()), float32(math.Inf(1))}
	h := tfevents.NewHistogram(values)
	if h.Num != 4 || h.Min != -1 || h.Max != 3 || h.Sum != 1 || h.SumSquares != 11 {
		t.Errorf("got %+v, want the statistics of -1 -1 0 3", h)
	}
	var total float64
	for i, n := range h.Buckets {
		total += n
		var want float64
		for _, v := range values[:4] {
			lower := math.Inf(-1)
			if i > 0 {
				lower = h.Limits[i-1]
			}
			if x := float64(v); x > lower && x <= h.Limits[i] {
				want++
			}
		}
		if n != want {
			t.Errorf("bucket to %g holds %g, want %g", h.Limits[i], n, want)
		}
	}
	if total != 4 {
		t.Errorf("buckets hold %g values, want 4", total)
	}
	if h := tfevents.NewHistogram([]float32{float32(math.NaN())}); h != nil {
		t.Errorf("a histogram of nothing is %+v, want nil", h)
	}
}

func TestRejects(t *testing.T) {
	good, err := os.ReadFile(filepath.Join("testdata", "sample.tfevents"))
	if err != nil {
		t.Fatal(err)
	}
	flip := func(i int) []byte {
		b := bytes.Clone(good)
		b[i] ^= 1
		return b
	}
	for _, c := range []struct {
		name string
		data []byte
		want error
	}{
		{"length", flip(0), tfevents.ErrChecksum},
		{"length checksum", flip(8), tfevents.ErrChecksum},
		{"data", flip(13), tfevents.ErrChecksum},
		{"last checksum", flip(len(good) - 1), tfevents.ErrChecksum},
		{"cut head", good[:5], io.ErrUnexpectedEOF},
		{"cut record", good[:len(good)-1], io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := tfevents.Read(bytes.NewReader(c.data), func(tfevents.Event) error { return nil })
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	w := tfevents.NewWriter(io.Discard)
	for name, v := range map[string]tfevents.Value{
		"tag":     {Tag: "\xff"},
		"buckets": {Tag: "a", Histogram: &tfevents.Histogram{Limits: []float64{1}}},
	} {
		if err := w.Append(tfevents.Event{Values: []tfevents.Value{v}}); err == nil {
			t.Errorf("a value with a broken %s is written", name)
		}
	}
}

// TestCreate makes two files in one second; both start with the version.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		w, err := tfevents.Create(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(tfevents.Event{Step: 1, Values: []tfevents.Value{{Tag: "a", Scalar: 1}}}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	paths, err := filepath.Glob(filepath.Join(dir, tfevents.FilePrefix+"*"))
	if err != nil || len(paths) != 2 {
		t.Fatalf("%d event files, want 2: %v", len(paths), err)
	}
	for _, path := range paths {
		n := 0
		err := tfevents.ReadFile(path, func(e tfevents.Event) error {
			if n++; n == 1 && e.Version != tfevents.Version {
				t.Errorf("first event has version %q", e.Version)
			}
			return nil
		})
		if err != nil || n != 2 {
			t.Errorf("%s: %d events, want 2: %v", path, n, err)
		}
	}
}

// FuzzRead: what is read survives writing and reading again.
func FuzzRead(f *testing.F) {
	good, err := os.ReadFile(filepath.Join("testdata", "sample.tfevents"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:60])
	f.Fuzz(func(t *testing.T, data []byte) {
		var first []tfevents.Event
		keep := func(to *[]tfevents.Event) func(tfevents.Event) error {
			return func(e tfevents.Event) error { *to = append(*to, e); return nil }
		}
		if tfevents.Read(bytes.NewReader(data), keep(&first)) != nil {
			return
		}
		var b bytes.Buffer
		w := tfevents.NewWriter(&b)
		for i := range first {
			if first[i].WallTime == 0 {
				first[i].WallTime = 1 // 0 would become the present time
			}
			if err := w.Append(first[i]); err != nil {
				t.Fatal(err)
			}
		}
		var again []tfevents.Event
		if err := tfevents.Read(&b, keep(&again)); err != nil {
			t.Fatal(err)
		}
		if len(again) != len(first) {
			t.Fatalf("%d events after writing, want %d", len(again), len(first))
		}
	})
}

// FuzzEvent fuzzes behind the checksums: a record around any bytes.
func FuzzEvent(f *testing.F) {
	for _, e := range sample() {
		f.Add(tfevents.Marshal(e))
	}
	f.Add([]byte{0x2a, 0x05, 0x0a, 0x03, 0x0a, 0x01, 'a'})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := tfevents.Unmarshal(data)
		if err != nil {
			return
		}
		once := tfevents.Marshal(e)
		again, err := tfevents.Unmarshal(once)
		if err != nil {
			t.Fatal(err)
		}
		if twice := tfevents.Marshal(again); !bytes.Equal(once, twice) {
			t.Errorf("marshals to %x, then to %x", once, twice)
		}
	})
}
