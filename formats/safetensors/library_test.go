package safetensors_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	library "github.com/nlpodyssey/safetensors"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/safetensors"
)

// The library's element types are ours, with the same size and order.
func TestLibraryDTypes(t *testing.T) {
	var known []library.DType
	for _, d := range formats.DTypes() {
		theirs, err := library.ParseDType(string(d))
		if err != nil {
			continue
		}
		known = append(known, theirs)
		if got, want := d.Bits(), 8*int(theirs.Size()); got != want {
			t.Errorf("%s: %d bits, the library has %d", d, got, want)
		}
	}
	if len(known) != 13 || !slices.IsSorted(known) {
		t.Errorf("got %v, want 13 in order", known)
	}
}

// view is a tensor for the library.
type view struct {
	dtype  library.DType
	shape  []uint64
	data   []byte
	length uint64
}

func (v view) DType() library.DType { return v.dtype }
func (v view) Shape() []uint64      { return v.shape }
func (v view) Data() []byte         { return v.data }
func (v view) DataLen() uint64      { return v.length }

func libraryWrite(t *testing.T, tensors map[string]view, metadata map[string]string) []byte {
	t.Helper()
	b, err := library.Serialize(tensors, metadata)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Each case is a fault of the library, or something it lacks, that this package
// works around. One that fails says that the library has been mended: the
// workaround named with it can go.
func TestLibraryFaults(t *testing.T) {
	const a = `{"dtype":"U8","shape":[1],"data_offsets":[0,1]}`
	accepts := func(header string, data int) func(*testing.T) bool {
		return func(t *testing.T) bool {
			if _, err := library.Deserialize([]byte(whole(header, data))); err != nil {
				return false
			}
			if _, err := open(t, whole(header, data)); err == nil {
				t.Errorf("%.60s: we accept it too", header)
			}
			return true
		}
	}
	one := view{library.U8, []uint64{1}, []byte{7}, 1}
	tests := []struct {
		fault, workaround string
		shown             func(t *testing.T) bool
	}{
		{"accepts a name twice", "guard.object", accepts(`{"a":`+a+`,"a":`+a+`}`, 1)},
		{"accepts a key of a tensor twice", "guard.object", accepts(`{"a":{"dtype":"F64","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1)},
		{"accepts names that are not UTF-8", "guard.run", accepts("{\"\xff\":"+a+"}", 1)},
		{"accepts half a surrogate pair", "guard.escape", accepts(`{"\ud800":`+a+`}`, 1)},
		{"accepts null for a header", "guard.run", accepts(`null`, 0)},
		{"has no limit on the rank", "guard.array", accepts(`{"a":{"dtype":"U8","shape":[`+numbers(1000)+`],"data_offsets":[0,1]}}`, 1)},
		{"has no limit on the members of an object", "guard.object", accepts(`{"__metadata__":{`+members(1<<17+2)+`}}`, 0)},
		{"two names that are not UTF-8 fall together", "guard.run", func(t *testing.T) bool {
			got, err := library.Deserialize([]byte(whole("{\"\xff\":"+a+",\"\xfe\":"+a+"}", 1)))
			return err == nil && got.Len() == 1
		}},
		{"Metadata.UnmarshalJSON ignores what follows the object", "json.Unmarshal in decodeMember", func(*testing.T) bool {
			return new(library.Metadata).UnmarshalJSON([]byte(`{} x`)) == nil
		}},
		{"gives no header without the whole file in memory", "Open", func(*testing.T) bool {
			_, _, err := library.ReadMetadata([]byte(whole(`{"a":`+a+`}`, 0)))
			return err != nil
		}},
		{"refuses the whole file for one newer element type", "standIn", func(t *testing.T) bool {
			content := whole(`{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}`, 1)
			if _, err := open(t, content); err != nil {
				t.Error(err)
			}
			_, err := library.Deserialize([]byte(content))
			return err != nil
		}},
		{"orders empty tensors at random", "sort in parseHeader", func(*testing.T) bool {
			content := []byte(whole("{"+empties(8)+"}", 0))
			seen := make(map[string]bool)
			for range 500 {
				st, err := library.Deserialize(content)
				if err != nil {
					return false
				}
				seen[fmt.Sprint(st.Names())] = true
			}
			return len(seen) > 1
		}},
		{"cannot make a view of a scalar", "Tensor", func(*testing.T) bool {
			_, err := library.NewTensorView(library.F32, []uint64{}, make([]byte, 4))
			return err != nil
		}},
		{"takes an overflowing shape for an empty one", "formats.Info.NumBytes", func(*testing.T) bool {
			_, err := library.NewTensorView(library.F32, []uint64{1 << 62, 4}, nil)
			return err == nil
		}},
		{"writes a nil shape that it cannot read", "entry.encode", func(t *testing.T) bool {
			b := libraryWrite(t, map[string]view{"a": {library.U8, nil, []byte{7}, 1}}, nil)
			_, err := library.Deserialize(b)
			return err != nil && bytes.Contains(b, []byte(`"shape":null`))
		}},
		{"writes a tensor called __metadata__ that it cannot read", "checkInfo", func(t *testing.T) bool {
			_, err := library.Deserialize(libraryWrite(t, map[string]view{"__metadata__": one}, nil))
			return err != nil
		}},
		{"writes names that are not UTF-8 into one", "checkInfo", func(t *testing.T) bool {
			b := libraryWrite(t, map[string]view{"\xff": one, "\xfe": one}, nil)
			return bytes.Count(b, []byte(`"\ufffd":`)) == 2
		}},
		{"does not compare the bytes written with their announced number", "exactWriter", func(t *testing.T) bool {
			_, err := library.Deserialize(libraryWrite(t, map[string]view{"a": {library.U8, []uint64{3}, []byte{7}, 3}}, nil))
			return err != nil
		}},
		{"has no data in pieces: Data returns a tensor whole", "Tensor.WriteTo", func(t *testing.T) bool {
			var w countingWriter
			err := library.SerializeToWriter(map[string]view{"a": {library.U8, []uint64{1 << 20}, make([]byte, 1<<20), 1 << 20}}, nil, &w)
			return err == nil && w.longest == 1<<20
		}},
		{"sorts __metadata__ among the tensors", "header.encode", func(t *testing.T) bool {
			b := libraryWrite(t, map[string]view{"A": one}, map[string]string{"k": "v"})
			return bytes.HasPrefix(b[8:], []byte(`{"A":`))
		}},
		{"sorts keys by name, not by place", "header.encode", func(t *testing.T) bool {
			b := libraryWrite(t, map[string]view{"a": one, "b": {library.F32, []uint64{1}, make([]byte, 4), 4}}, nil)
			return bytes.HasPrefix(b[8:], []byte(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[4,5]},"b":`))
		}},
		{"escapes what the reference does not", "appendString", func(t *testing.T) bool {
			return bytes.Contains(libraryWrite(t, map[string]view{"<": one}, nil), []byte(`"\u003c"`))
		}},
	}
	for _, test := range tests {
		t.Run(test.fault, func(t *testing.T) {
			if !test.shown(t) {
				t.Errorf("the library has changed: see %s", test.workaround)
			}
		})
	}
}

// members returns n members of an object of strings.
func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%d":"",`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

type countingWriter struct{ longest int }

func (w *countingWriter) Write(p []byte) (int, error) {
	w.longest = max(w.longest, len(p))
	return len(p), nil
}

// What the library does well is used: its JSON of a tensor is the reference's.
func TestLibraryTensorInfo(t *testing.T) {
	got, err := json.Marshal(library.TensorInfo{DType: library.BF16, Shape: []uint64{2, 3}, DataOffsets: [2]uint64{4, 16}})
	if want := `{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

// Write and the library agree on the data and its layout.
func TestLibraryReadsOurs(t *testing.T) {
	content := write(t, []safetensors.Tensor{
		safetensors.Float32s("a", []int{2}, []float32{1, 2}),
		safetensors.Bytes("b", formats.I64, nil, []byte("12345678")),
	}, map[string]string{"k": "v"})
	st, err := library.Deserialize([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(st.Names()), "[b a]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if b, ok := st.Tensor("b"); !ok || string(b.Data()) != "12345678" {
		t.Errorf("got %q, %t", b.Data(), ok)
	}
}
