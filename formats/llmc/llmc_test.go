package llmc_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/llmc"
	"github.com/spdfctl/spdfctl/formats/stored"
)

var tiny = llmc.Config{NCtx: 4, VocabSize: 5, NLayer: 2, NHead: 2, NEmbd: 6, PaddedVocab: 8, DType: formats.F32}

func tensors(c llmc.Config) []stored.Tensor {
	var list []stored.Tensor
	for k, info := range c.Infos() {
		n, err := info.NumBytes()
		if err != nil {
			panic(err)
		}
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i*3 + k)
		}
		list = append(list, stored.InMemory(info, data))
	}
	return list
}

func openBytes(t testing.TB, data []byte) (*llmc.File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.bin")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := llmc.Open(path)
	if err == nil {
		t.Cleanup(func() { f.Close() })
	}
	return f, err
}

func write(t testing.TB, c llmc.Config) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := llmc.Write(&b, c, tensors(c)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for d, version := range map[formats.DType]int32{formats.F32: 3, formats.BF16: 5} {
		c := tiny
		c.DType = d
		data := write(t, c)
		// 16 tensors: 48+24 embeddings, per layer 12C^2+13C, 2C at the end.
		const elements = 8*6 + 4*6 + 2*(12*36+13*6) + 2*6
		if want := 1024 + elements*d.Bits()/8; len(data) != want {
			t.Errorf("%s: %d bytes, want %d", d, len(data), want)
		}
		if got := int32(binary.LittleEndian.Uint32(data[4:])); got != version {
			t.Errorf("%s: version %d, want %d", d, got, version)
		}
		f, err := openBytes(t, data)
		if err != nil {
			t.Fatal(err)
		}
		if f.Config != c {
			t.Errorf("config is %+v, want %+v", f.Config, c)
		}
		for i, want := range tensors(c) {
			x, err := f.Tensors()[i].Load()
			y, _ := want.Load()
			if err != nil || f.Tensors()[i].Name != want.Name || !bytes.Equal(x, y) {
				t.Errorf("%s: tensor %d is %q, %v; want %q", d, i, f.Tensors()[i].Name, err, want.Name)
			}
		}
	}
}

func TestReject(t *testing.T) {
	edit := func(index int, v int32) []byte {
		data := write(t, tiny)
		binary.LittleEndian.PutUint32(data[4*index:], uint32(v))
		return data
	}
	for _, tc := range []struct {
		name        string
		data        []byte
		want        string
		unsupported bool
	}{
		{"empty", nil, "file has 0 bytes", false},
		{"magic", edit(0, 20240327), "starts with the number 20240327", false},
		{"version 2", edit(1, 2), "version is 2", true},
		{"no layers", edit(4, 0), "number of layers is 0", false},
		{"negative width", edit(6, -6), "number of channels is -6", false},
		{"2^31-1 positions", edit(2, 1<<31-1), "sequence length is 2147483647", false},
		{"heads", edit(5, 4), "6 channels do not divide into 4 heads", false},
		{"vocabulary", edit(3, 9), "padded vocabulary is 8, vocabulary 9", false},
		{"more layers than the file", edit(4, 1<<16), "are left", false},
		{"fewer layers than the file", edit(4, 1), "tensors end at byte", false},
		{"reserved", edit(8, 1), "number 8 of the header is 1", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := openBytes(t, tc.data)
			var format *llmc.FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), tc.want) || errors.Is(err, llmc.ErrUnsupported) != tc.unsupported {
				t.Errorf("got %v, want %q, unsupported %v", err, tc.want, tc.unsupported)
			}
		})
	}
	data := write(t, tiny)
	for n := 0; n < len(data); n += 7 {
		if _, err := openBytes(t, data[:n]); err == nil {
			t.Errorf("cut to %d of %d bytes: no error", n, len(data))
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	var b bytes.Buffer
	half := tiny
	half.DType = formats.F16
	if err := llmc.Write(&b, half, tensors(half)); !errors.Is(err, llmc.ErrUnsupported) {
		t.Errorf("F16: %v", err)
	}
	if err := llmc.Write(&b, tiny, tensors(tiny)[1:]); err == nil {
		t.Error("wrote 15 tensors")
	}
	wrong := tensors(tiny)
	wrong[0].Shape = []int{4, 12}
	if err := llmc.Write(&b, tiny, wrong); err == nil {
		t.Error("wrote a tensor of another shape")
	}
	if b.Len() > 0 {
		t.Errorf("%d bytes were written", b.Len())
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(write(f, tiny))
	path := filepath.Join(f.TempDir(), "model.bin")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		file, err := llmc.Open(path)
		if err != nil {
			return
		}
		defer file.Close()
		var b bytes.Buffer
		if err := llmc.Write(&b, file.Config, file.Tensors()); err != nil || !bytes.Equal(b.Bytes(), data) {
			t.Fatalf("written again it differs, %v", err)
		}
	})
}
