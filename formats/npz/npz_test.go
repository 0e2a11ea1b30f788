package npz_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/npz"
	"github.com/spdfctl/spdfctl/formats/stored"
)

func openBytes(t testing.TB, data []byte) (*npz.File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := npz.Open(path)
	if err == nil {
		t.Cleanup(func() { f.Close() })
	}
	return f, err
}

// npy puts a file together; the header is given, padding and length are not.
func npy(version byte, header, data string) []byte {
	b := []byte("\x93NUMPY" + string([]byte{version, 0}))
	if version == 1 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(header)))
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
	}
	return append(b, header+data...)
}

const data8 = "\x00\x01\x02\x03\x04\x05\x06\x07"

func TestRead(t *testing.T) {
	for _, tc := range []struct {
		name    string
		file    []byte
		want    string // description
		content string
	}{
		{"plain", npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", data8), "F32 (2)", data8},
		{"version 2", npy(2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", data8), "F32 (2)", data8},
		{"version 3", npy(3, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", data8), "F32 (2)", data8},
		{"other order of keys, other quotes", npy(1, `{"shape": (2, ), "fortran_order": False, "descr": "<f4"}`, data8), "F32 (2)", data8},
		{"Python 2", npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2L,), }\n", data8), "F32 (2)", data8},
		{"scalar", npy(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n", data8), "F64 ()", data8},
		{"empty", npy(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 3), }\n", ""), "F64 (0, 3)", ""},
		{"Fortran order", npy(1, "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 2), }\n", data8), "I16 (2, 2)", "\x00\x01\x04\x05\x02\x03\x06\x07"},
		{"Fortran order, one row", npy(1, "{'descr': '<i2', 'fortran_order': True, 'shape': (4, 1), }\n", data8), "I16 (4, 1)", data8},
		{"big-endian", npy(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }\n", data8), "F32 (2)", "\x03\x02\x01\x00\x07\x06\x05\x04"},
		{"big-endian, complex", npy(1, "{'descr': '>c8', 'fortran_order': False, 'shape': (1,), }\n", data8), "C64 (1)", "\x03\x02\x01\x00\x07\x06\x05\x04"},
		{"big-endian, Fortran order", npy(1, "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 2), }\n", data8), "I16 (2, 2)", "\x01\x00\x05\x04\x03\x02\x07\x06"},
		{"bool", npy(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (8,), }\n", data8), "BOOL (8)", data8},
		{"half", npy(1, "{'descr': '<f2', 'fortran_order': False, 'shape': (4,), }\n", data8), "F16 (4)", data8},
		{"raw", npy(1, "{'descr': '<V2', 'fortran_order': False, 'shape': (4,), }\n", data8), "U16 (4)", data8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := openBytes(t, tc.file)
			if err != nil {
				t.Fatal(err)
			}
			tensor := f.Tensors()[0]
			content, err := tensor.Load()
			if err != nil || tensor.Info.String() != tc.want || string(content) != tc.content {
				t.Errorf("got %s % x, %v; want %s % x", tensor.Info, content, err, tc.want, tc.content)
			}
			if f.Raw("") != (tc.name == "raw") {
				t.Errorf("raw is %v", f.Raw(""))
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	header := func(descr, order, shape string) []byte {
		return npy(1, "{'descr': "+descr+", 'fortran_order': "+order+", 'shape': "+shape+", }\n", data8)
	}
	for _, tc := range []struct {
		name        string
		file        []byte
		want        string
		unsupported bool
	}{
		{"empty", nil, "has 0 bytes", false},
		{"magic", []byte("\x93NUMPX\x01\x00\x00\x00"), "starts with", false},
		{"version", npy(4, "{}", ""), "version is 4.0", true},
		{"no length", []byte("\x93NUMPY\x01\x00\x00"), "the length of the header ends at 10", false},
		{"header past the end", []byte("\x93NUMPY\x01\x00\x40\x00{"), "header is 64 bytes, 1 are there", false},
		{"header of 4 GB", []byte("\x93NUMPY\x02\x00\xff\xff\xff\xff{"), "header is 4294967295 bytes, limit 65536", true},
		{"objects", header("'|O'", "False", "(1,)"), "Python objects", true},
		{"structure", header("[('a', '<f4')]", "False", "(1,)"), "structures", true},
		{"text", header("'<U2'", "False", "(1,)"), "descr is \"<U2\"", true},
		{"dates", header("'<M8[ns]'", "False", "(1,)"), "descr is", true},
		{"long double", header("'<f16'", "False", "(1,)"), "descr is", true},
		{"complex128", header("'<c16'", "False", "(1,)"), "descr is", true},
		{"no byte order", header("'f4'", "False", "(2,)"), "no byte order", false},
		{"the writer's byte order", header("'=f4'", "False", "(2,)"), "byte order is not given", false},
		{"short descr", header("'<'", "False", "(2,)"), "descr is", false},
		{"order that is no bool", header("'<f4'", "0", "(2,)"), "want True or False", false},
		{"shape that is no tuple", header("'<f4'", "False", "2"), "want (", false},
		{"negative dimension", header("'<f4'", "False", "(-2,)"), "want a dimension", false},
		{"dimension past int64", header("'<f4'", "False", "(99999999999999999999,)"), "want a dimension", false},
		{"shape past int64", header("'<f4'", "False", "(4611686018427387904, 4611686018427387904)"), "more than", false},
		{"bytes past int64", header("'<f4'", "False", "(4611686018427387904,)"), "takes more than", false},
		{"65 dimensions", header("'<f4'", "False", "("+strings.Repeat("1, ", 65)+")"), "more than 64 dimensions", false},
		{"one element more", header("'<f4'", "False", "(3,)"), "takes 12 bytes, 8 are there", false},
		{"one element less", header("'<f4'", "False", "(1,)"), "takes 4 bytes, 8 are there", false},
		{"key twice", npy(1, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", data8), "occurs twice", false},
		{"key unknown", npy(1, "{'descr': '<f4', 'x': '<f4', 'fortran_order': False, 'shape': (2,)}", data8), "is none of", false},
		{"key missing", npy(1, "{'descr': '<f4', 'shape': (2,)}", data8), `key "fortran_order" is missing`, false},
		{"code", npy(1, "__import__('os').system('true')", data8), "want {", false},
		{"something behind the dict", npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", data8), "want the end", false},
		{"escape", npy(1, `{'desc\x72': '<f4', 'fortran_order': False, 'shape': (2,)}`, data8), "without escapes", false},
		{"no comma", npy(1, "{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}", data8), "want , or }", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := openBytes(t, tc.file)
			var format *npz.FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), tc.want) || errors.Is(err, npz.ErrUnsupported) != tc.unsupported {
				t.Errorf("got %v, want %q in a FormatError, unsupported %v", err, tc.want, tc.unsupported)
			}
		})
	}
}

func zipFile(t testing.TB, comment string, members map[string][]byte, method uint16) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	if err := z.SetComment(comment); err != nil {
		t.Fatal(err)
	}
	for name, data := range members {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestZip(t *testing.T) {
	array := npy(1, "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 2), }\n", data8)
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		f, err := openBytes(t, zipFile(t, "", map[string][]byte{"a/b.npy": array}, method))
		if err != nil {
			t.Fatal(err)
		}
		tensor := f.Tensors()[0]
		content, err := tensor.Load()
		if err != nil || tensor.Name != "a/b" || string(content) != "\x00\x01\x04\x05\x02\x03\x06\x07" || !f.Zip() {
			t.Errorf("method %d: got %q % x, %v", method, tensor.Name, content, err)
		}
	}
	if _, err := openBytes(t, zipFile(t, "", map[string][]byte{"readme.txt": nil}, 0)); err == nil || !strings.Contains(err.Error(), "does not end in .npy") {
		t.Errorf("member that is no array: %v", err)
	}
	if _, err := openBytes(t, zipFile(t, "", map[string][]byte{"x.npy": array[:50]}, 0)); err == nil || !strings.Contains(err.Error(), `array "x"`) {
		t.Errorf("member that is cut: %v", err)
	}
}

// tensor returns an array with recognisable bytes.
func tensor(name string, d formats.DType, shape ...int) stored.Tensor {
	info := formats.Info{Name: name, DType: d, Shape: shape}
	n, err := info.NumBytes()
	if err != nil {
		panic(err)
	}
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i*5 + len(name))
	}
	return stored.InMemory(info, data)
}

// TestWriteZip writes every type that can be written and reads it back.
// TestRefusals: an array of objects does not keep others from being read.
func TestRefusals(t *testing.T) {
	f, err := openBytes(t, zipFile(t, "", map[string][]byte{
		"o.npy": npy(1, "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", "cposix\nsystem\n."),
		"s.npy": npy(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }\n", data8),
		"x.npy": npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", data8),
	}, zip.Store))
	if err != nil {
		t.Fatal(err)
	}
	if list := f.Tensors(); len(list) != 1 || list[0].Name != "x" {
		t.Errorf("tensors are %v", list)
	}
	reasons := map[string]string{"o": "Python objects", "s": "structures"}
	if len(f.Refusals()) != len(reasons) {
		t.Errorf("refusals are %v", f.Refusals())
	}
	for _, r := range f.Refusals() {
		if want := reasons[r.Name]; want == "" || !strings.Contains(r.Reason, want) {
			t.Errorf("%q: reason is %q, want %q in it", r.Name, r.Reason, want)
		}
	}
}

func TestWriteZip(t *testing.T) {
	for _, d := range formats.DTypes() {
		tensors := []stored.Tensor{tensor("a.b", d, 2, 4), tensor("z", d, 4), tensor("e", d, 0, 3)}
		var b, again bytes.Buffer
		err := npz.WriteZip(&b, tensors, []byte("{}"))
		native, raw := npz.Writable(d)
		if !native && !raw {
			if !errors.Is(err, npz.ErrUnsupported) {
				t.Errorf("%s: got %v, want ErrUnsupported", d, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := npz.WriteZip(&again, tensors, []byte("{}")); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
			t.Errorf("%s: two runs differ, %v", d, err)
		}
		f, err := openBytes(t, b.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", d, err)
		}
		if string(f.Side()) != "{}" {
			t.Errorf("%s: side record %q", d, f.Side())
		}
		for i, got := range f.Tensors() {
			x, err := got.Load()
			y, _ := tensors[i].Load()
			if err != nil || got.Name != tensors[i].Name || !bytes.Equal(x, y) || native && got.Info.String() != tensors[i].Info.String() || f.Raw(got.Name) != raw {
				t.Errorf("%s: got %q %s raw %v, %v", d, got.Name, got.Info, f.Raw(got.Name), err)
			}
		}
	}
	if err := npz.WriteZip(io.Discard, nil, make([]byte, npz.MaxSide+1)); err == nil {
		t.Error("a side record was written that is too long")
	}
}

// TestNumPyBytes: what NumPy 1.24 has written comes out as it was.
func TestNumPyBytes(t *testing.T) {
	files, err := filepath.Glob("testdata/*.npy")
	if err != nil || len(files) == 0 {
		t.Fatal("no fixtures")
	}
	for _, file := range files {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := npz.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var b bytes.Buffer
		if err := npz.WriteNpy(&b, f.Tensors()[0]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b.Bytes(), want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", file, diff)
		}
	}
}

func TestWriteFloat32(t *testing.T) {
	want, err := os.ReadFile("testdata/f4.npy")
	if err != nil {
		t.Fatal(err)
	}
	f, err := npz.Open("testdata/f4.npy")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	content, err := f.Tensors()[0].Load()
	if err != nil {
		t.Fatal(err)
	}
	values := make([]float32, len(content)/4)
	if _, err := binary.Decode(content, binary.LittleEndian, values); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := npz.WriteFloat32(&b, f.Tensors()[0].Shape, values); err != nil || !bytes.Equal(b.Bytes(), want) {
		t.Errorf("differs from NumPy's file, %v", err)
	}
	if err := npz.WriteFloat32(&b, []int{3}, []float32{1}); err == nil {
		t.Error("one value was written as three")
	}
}

func TestTruncated(t *testing.T) {
	array := npy(1, "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 2), }\n", data8)
	for _, whole := range [][]byte{array, zipFile(t, "", map[string][]byte{"a.npy": array}, zip.Deflate)} {
		for n := range whole {
			if _, err := openBytes(t, whole[:n]); err == nil {
				t.Errorf("cut to %d of %d bytes: no error", n, len(whole))
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	files, err := filepath.Glob("testdata/*.np[yz]")
	if err != nil || len(files) == 0 {
		f.Fatal("no fixtures")
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(npy(1, "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 2), }\n", data8))
	path := filepath.Join(f.TempDir(), "file")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		file, err := npz.Open(path)
		if err != nil {
			return
		}
		defer file.Close()
		for _, tensor := range file.Tensors() {
			if tensor.Bytes > 1<<20 {
				continue
			}
			content, err := tensor.Load()
			if err != nil {
				continue
			}
			var b bytes.Buffer
			if err := npz.WriteNpy(&b, tensor); err != nil {
				t.Fatal(err)
			}
			again, err := openBytes(t, b.Bytes())
			if err != nil {
				t.Fatalf("what was read cannot be read again: %v", err)
			}
			second, err := again.Tensors()[0].Load()
			if err != nil || !bytes.Equal(content, second) {
				t.Fatalf("%q changed on the way, %v", tensor.Name, err)
			}
		}
	})
}

func TestPickles(t *testing.T) {
	object := npy(1, "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", "cposix\nsystem\n.")
	structure := npy(1, "{'descr': [('a', '<f4'), ('b', '|O')], 'fortran_order': False, 'shape': (1,), }\n", "N.")
	plain := npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", data8)
	for _, tc := range []struct {
		name string
		file []byte
		want []npz.Embedded
	}{
		{"plain", plain, nil},
		{"object", object, []npz.Embedded{{Data: []byte("cposix\nsystem\n.")}}},
		{"structure", structure, []npz.Embedded{{Data: []byte("N.")}}},
		{"zip", zipFile(t, "", map[string][]byte{"o.npy": object}, zip.Deflate), []npz.Embedded{{Array: "o.npy", Data: []byte("cposix\nsystem\n.")}}},
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, tc.file, 0o666); err != nil {
			t.Fatal(err)
		}
		got, err := npz.Pickles(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, tc.want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", tc.name, diff)
		}
	}
}
