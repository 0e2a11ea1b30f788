package torch_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/formats/torch"
)

// memory returns a tensor with recognisable bytes.
func memory(name string, d formats.DType, shape ...int) stored.Tensor {
	info := formats.Info{Name: name, DType: d, Shape: shape}
	n, err := info.NumBytes()
	if err != nil {
		panic(err)
	}
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i*7 + len(name))
		if d == formats.BOOL {
			data[i] &= 1
		}
	}
	return stored.InMemory(info, data)
}

func write(t interface{ Fatal(...any) }, tensors []stored.Tensor, o torch.WriteOptions) []byte {
	var b bytes.Buffer
	if err := torch.Write(&b, tensors, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestWriteTypes writes every element type that PyTorch has and reads it back.
func TestWriteTypes(t *testing.T) {
	for _, d := range formats.DTypes() {
		tensors := []stored.Tensor{memory("a", d, 2, 4), memory("b", d, 4), memory("e", d, 0, 3)}
		if d != formats.F4 && d != formats.F6E2M3 && d != formats.F6E3M2 {
			tensors = append(tensors, memory("scalar", d))
		}
		if d == formats.F6E2M3 || d == formats.F6E3M2 {
			if err := torch.Write(&bytes.Buffer{}, tensors[:2], torch.WriteOptions{}); !errors.Is(err, torch.ErrUnsupported) {
				t.Errorf("%s: got %v, want ErrUnsupported", d, err)
			}
			continue
		}
		if d == formats.F4 {
			tensors = tensors[:2] // an odd last dimension cannot be packed
		}
		f, err := openBytes(t, write(t, tensors, torch.WriteOptions{}))
		if err != nil {
			t.Fatalf("%s: %v", d, err)
		}
		if diff := cmp.Diff(sums(t, f.Tensors()), sums(t, tensors)); diff != "" {
			t.Errorf("%s (-got +want):\n%s", d, diff)
		}
	}
}

func TestWriteLayout(t *testing.T) {
	tensors := []stored.Tensor{memory("x", formats.F32, 3), memory("y", formats.F16, 5, 7), memory("z", formats.U8, 1)}
	o := torch.WriteOptions{
		Root: "ckpt", Under: "model", Side: []byte(`{"a":1}`), Aliases: map[string][]string{"y": {"tied"}},
		Fields: []torch.Field{{Key: "iter_num", Value: int64(-5)}, {Key: "big", Value: int64(1) << 40}, {Key: "none"}, {Key: "on", Value: true}, {Key: "off", Value: false},
			{Key: "lr", Value: 6e-4}, {Key: "name", Value: "é"}, {Key: "args", Value: []torch.Field{{Key: "n_layer", Value: int64(70000)}}}},
	}
	data := write(t, tensors, o)
	if !bytes.Equal(data, write(t, tensors, o)) {
		t.Error("two runs differ")
	}
	f, err := openBytes(t, data)
	if err != nil {
		t.Fatal(err)
	}
	for _, tensor := range f.Tensors() {
		if tensor.Offset < 0 || tensor.Offset%64 != 0 {
			t.Errorf("%q is at offset %d, want a multiple of 64", tensor.Name, tensor.Offset)
		}
	}
	if diff := cmp.Diff(f.Aliases(), [][]string{{"model.y", "model.tied"}}); diff != "" {
		t.Errorf("aliases (-got +want):\n%s", diff)
	}
	if string(f.Side()) != `{"a":1}` {
		t.Errorf("side record is %q", f.Side())
	}
	got := make(map[string]any)
	for _, l := range f.Leaves() {
		got[l.Name] = l.Value
	}
	want := map[string]any{"iter_num": int64(-5), "big": int64(1) << 40, "none": nil, "on": true, "off": false, "lr": 6e-4, "name": "é", "args.n_layer": int64(70000)}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("leaves (-got +want):\n%s", diff)
	}
}

func TestWriteRefuses(t *testing.T) {
	var b bytes.Buffer
	twice := []stored.Tensor{memory("x", formats.U8, 1), memory("x", formats.U8, 1)}
	if err := torch.Write(&b, twice, torch.WriteOptions{}); err == nil {
		t.Error("a name was written twice")
	}
	if err := torch.Write(&b, twice[:1], torch.WriteOptions{Aliases: map[string][]string{"x": {"x"}}}); err == nil {
		t.Error("a tensor is an alias of itself")
	}
	if err := torch.Write(&b, twice[:1], torch.WriteOptions{Root: "a/b"}); err == nil {
		t.Error("a root with a slash was written")
	}
	if b.Len() != 0 {
		t.Errorf("%d bytes were written", b.Len())
	}
}

// TestWriteRoundTrip writes any names and shapes, more than the memo addresses
// with one byte.
func TestWriteRoundTrip(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringN(0, 30, 60), 1, 6, rapid.ID[string]).Draw(rt, "names")
		for i := range rapid.IntRange(0, 300).Draw(rt, "more") {
			names = append(names, fmt.Sprintf("layer.%d.\xffweight", i)[:len(fmt.Sprintf("layer.%d.", i))]+"w")
		}
		seen := make(map[string]bool)
		var tensors []stored.Tensor
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			d := rapid.SampledFrom([]formats.DType{formats.F32, formats.BF16, formats.U8, formats.I64}).Draw(rt, "dtype")
			tensors = append(tensors, memory(name, d, rapid.SliceOfN(rapid.IntRange(0, 4), 0, 4).Draw(rt, "shape")...))
		}
		n++
		path := fmt.Sprintf("%s/%d", dir, n)
		f := openPath(rt, path, write(rt, tensors, torch.WriteOptions{}))
		defer f.Close()
		for i, got := range f.Tensors() {
			if got.Name != tensors[i].Name {
				rt.Fatalf("tensor %d is %q, want %q", i, got.Name, tensors[i].Name)
			}
			a, err := got.Load()
			if err != nil {
				rt.Fatal(err)
			}
			b, _ := tensors[i].Load()
			if got.Info.String() != tensors[i].Info.String() || !bytes.Equal(a, b) {
				rt.Fatalf("%q: %s differs from %s", got.Name, got.Info, tensors[i].Info)
			}
		}
	})
}

func openPath(t *rapid.T, path string, data []byte) *torch.File {
	if err := writeFile(path, data); err != nil {
		t.Fatal(err)
	}
	f, err := torch.Open(path, torch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestBigEndianStaysBigEndian is the hand-made counterpart of big_endian.pt:
// the same numbers, once in each order.
func TestBigEndianStaysBigEndian(t *testing.T) {
	pkl := tensorPickle("FloatStorage", "0", 2, "")
	little, big := make([]byte, 8), make([]byte, 8)
	for i, v := range []uint32{0x3f800000, 0x40490fdb} {
		binary.LittleEndian.PutUint32(little[4*i:], v)
		binary.BigEndian.PutUint32(big[4*i:], v)
	}
	for order, data := range map[string][]byte{"little": little, "big": big} {
		f, err := openBytes(t, zipFile(t, member{"a/data.pkl", pkl, 0}, member{"a/data/0", string(data), 0}, member{"a/byteorder", order, 0}))
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Tensors()[0].Load()
		if err != nil || !bytes.Equal(got, little) {
			t.Errorf("%s: got % x, %v; want % x", order, got, err, little)
		}
	}
}
