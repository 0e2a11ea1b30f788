package torch_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/torch"
)

// tensorPickle is {"w": <tensor of storage key, count elements of class>}.
func tensorPickle(class, key string, count byte, more string) string {
	return "\x80\x02}(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n" + class +
		"\nX" + string([]byte{byte(len(key)), 0, 0, 0}) + key + "X\x03\x00\x00\x00cpuK" + string([]byte{count}) + more + "tQK\x00K" +
		string([]byte{count}) + "\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRu."
}

// member is one of a zip file to be made.
type member struct {
	name, data string
	method     uint16
}

func zipFile(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range members {
		w, err := z.CreateHeader(&zip.FileHeader{Name: m.name, Method: m.method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func openBytes(t testing.TB, data []byte) (*torch.File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pt")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := torch.Open(path, torch.Options{})
	if err == nil {
		t.Cleanup(func() { f.Close() })
	}
	return f, err
}

func TestHostileZip(t *testing.T) {
	pkl := tensorPickle("FloatStorage", "0", 2, "")
	good := []member{{"a/data.pkl", pkl, 0}, {"a/data/0", "12345678", 0}, {"a/version", "3\n", 0}}
	with := func(extra ...member) []byte { return zipFile(t, append(append([]member{}, good...), extra...)...) }
	edit := func(data []byte, change func([]byte)) []byte { change(data); return data }
	body := func(class string, count byte) string { // of a pickle that is one tensor
		p := tensorPickle(class, "0", count, "")
		return p[len("\x80\x02") : len(p)-len(".")]
	}
	central := func(data []byte, name string) int { // of the directory entry
		return bytes.LastIndex(data, []byte(name)) - 46
	}
	bomb := zipFile(t, member{"a/data.pkl", tensorPickle("ByteStorage", "0", 200, ""), 0}, member{"a/data/0", strings.Repeat("\x00", 200), zip.Deflate})
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"good", with(), ""},
		{"another member of the same base name", with(member{"x/extra/0", "XXXXXXXX", 0}), ""},
		{"another root", with(member{"b/data/0", "XXXXXXXX", 0}), ""},
		{"member twice", with(member{"a/data/0", "XXXXXXXX", 0}), `member "a/data/0" occurs twice`},
		{"two pickles", with(member{"b/data.pkl", pkl, 0}), "2 members <root>/data.pkl, want 1"},
		{"no pickle", zipFile(t, good[1:]...), "0 members <root>/data.pkl, want 1"},
		{"pickle without root", zipFile(t, member{"data.pkl", pkl, 0}, member{"data/0", "12345678", 0}), "0 members"},
		{"pickle too deep", zipFile(t, member{"a/b/data.pkl", pkl, 0}), "0 members"},
		{"TorchScript", with(member{"a/constants.pkl", ".", 0}), "TorchScript"},
		{"storage missing", zipFile(t, good[0]), `no member "a/data/0"`},
		{"storage under a longer name", zipFile(t, good[0], member{"a/data/00", "12345678", 0}), `no member "a/data/0"`},
		{"storage short", zipFile(t, good[0], member{"a/data/0", "1234567", 0}), `storage "0" has 2 elements of 4 bytes, member "a/data/0" has 7 bytes`},
		{"storage long", zipFile(t, good[0], member{"a/data/0", "123456789", 0}), "has 9 bytes"},
		{"key with a path", zipFile(t, member{"a/data.pkl", tensorPickle("FloatStorage", "../x", 2, ""), 0}, good[1]), `no member "a/data/../x"`},
		{"class that is no storage", zipFile(t, member{"a/data.pkl", tensorPickle("Tensor", "0", 2, ""), 0}, good[1]), "storage has the class"},
		{"persistent id of six", zipFile(t, member{"a/data.pkl", tensorPickle("FloatStorage", "0", 2, "N"), 0}, good[1]), "persistent id is"},
		{"two sizes of one storage", zipFile(t, member{"a/data.pkl", "(" + body("FloatStorage", 2) + body("ByteStorage", 8) + "t.", 0}, good[1]), `storage "0" is 8 uint8 here and 2 float32 before`},
		{"byteorder", with(member{"a/byteorder", "middle", 0}), `byteorder is "middle"`},
		{"long byteorder", with(member{"a/byteorder", strings.Repeat("little", 100), 0}), "has 600 bytes, limit 64"},
		{"encrypted", edit(with(), func(b []byte) { b[central(b, "a/data/0")+8] |= 1 }), "is encrypted"},
		{"method", edit(with(), func(b []byte) { b[central(b, "a/data/0")+10] = 12 }), "compressed by method 12"},
		{"stored sizes differ", edit(with(), func(b []byte) { b[central(b, "a/data/0")+24]++ }), "has 9 bytes and 8 in the file"},
		{"past the end", edit(with(), func(b []byte) {
			b[central(b, "a/data/0")+20], b[central(b, "a/data/0")+24] = 0xff, 0xff
			b[central(b, "a/data/0")+21], b[central(b, "a/data/0")+25] = 0xff, 0xff
		}), "the file has"},
		{"members over each other", edit(with(), func(b []byte) {
			// The version is said to be where the storage is.
			copy(b[central(b, "a/version")+42:][:4], b[central(b, "a/data/0")+42:][:4])
		}), "overlap"},
		{"bomb", edit(bomb, func(b []byte) { binary.LittleEndian.PutUint32(b[central(b, "a/data/0")+24:], 1<<31) }), "which"},
		{"directory cut", with()[:len(with())-30], "zip: not a valid zip file"},
		{"not a zip file", []byte("PK\x03\x04 but nothing else"), "zip: not a valid zip file"},
		{"nothing known", []byte("hello world"), "none of PyTorch's containers: 11 bytes"},
		{"empty", nil, "none of PyTorch's containers: 0 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := openBytes(t, tc.data)
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q in it", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if data, err := f.Tensors()[0].Load(); err != nil || string(data) != "12345678" {
				t.Errorf("read %q, %v", data, err)
			}
		})
	}
}

// TestDeflatedStorageCut: the directory says more than the deflated data give.
func TestDeflatedStorageCut(t *testing.T) {
	data := zipFile(t, member{"a/data.pkl", tensorPickle("ByteStorage", "0", 200, ""), 0}, member{"a/data/0", strings.Repeat("ab", 50), zip.Deflate})
	at := bytes.LastIndex(data, []byte("a/data/0")) - 46
	binary.LittleEndian.PutUint32(data[at+24:], 200)
	f, err := openBytes(t, data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Tensors()[0].Load(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want io.ErrUnexpectedEOF", err)
	}
}

// preamble is the first three pickles of a stream.
const preamble = "\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\r\x00\x00\x00little_endian\x88s."

func TestHostileStream(t *testing.T) {
	pkl := tensorPickle("FloatStorage", "7", 2, "N")
	keys := "\x80\x02]X\x01\x00\x00\x007a."
	data := "\x02\x00\x00\x00\x00\x00\x00\x0012345678"
	for _, tc := range []struct{ name, file, want string }{
		{"good", preamble + pkl + keys + data, ""},
		{"version", strings.Replace(preamble, "\xe9\x03", "\xea\x03", 1) + pkl + keys + data, "version 1002, known is 1001"},
		{"big-endian", strings.Replace(preamble, "\x88", "\x89", 1) + pkl + keys + data, "little_endian False"},
		{"machine", strings.Split(preamble, "}")[0] + "]." + pkl + keys + data, "description of the machine is a list"},
		{"no keys", preamble + pkl + "].", `storage "7" is not in the file`},
		{"keys that are no list", preamble + pkl + "}.", "keys of the storages are {}"},
		{"unknown key", preamble + pkl + "\x80\x02]X\x01\x00\x00\x008a." + data, "no tensor has it"},
		{"key twice", preamble + pkl + "\x80\x02](X\x01\x00\x00\x007X\x01\x00\x00\x007e." + data + data, "or it is there twice"},
		{"another count", preamble + pkl + keys + "\x03\x00\x00\x00\x00\x00\x00\x00123456789012", `storage "7" has 2 elements, in the file it has 3`},
		{"count of 2^63", preamble + pkl + keys + "\x00\x00\x00\x00\x00\x00\x00\x80", "in the file it has 9223372036854775808"},
		{"data cut", preamble + pkl + keys + data[:15], "8 bytes are wanted, 7 are left"},
		{"module", preamble + "\x80\x02(X\x06\x00\x00\x00moduletQ.", "holds whole modules"},
		{"view", preamble + tensorPickle("FloatStorage", "7", 2, "(X\x01\x00\x00\x008K\x00K\x02t") + keys + data, ""},
		{"view past the end", preamble + tensorPickle("FloatStorage", "7", 2, "(X\x01\x00\x00\x008K\x01K\x02t") + keys + data, "view \"8\" has 2 elements from element 1 of storage \"7\" on, which has 2"},
		{"view of no numbers", preamble + tensorPickle("FloatStorage", "7", 2, "(X\x01\x00\x00\x008NNt") + keys + data, "view of storage"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := openBytes(t, []byte(tc.file))
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q in it", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if data, err := f.Tensors()[0].Load(); err != nil || string(data) != "12345678" {
				t.Errorf("read %q, %v", data, err)
			}
		})
	}
}

// tarFile makes a tar file of the three members.
func tarFile(t testing.TB, storages, tensors, pickle string, change func(*tar.Header)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range []struct{ name, data string }{{"storages", storages}, {"tensors", tensors}, {"pickle", pickle}} {
		h := &tar.Header{Name: m.name, Size: int64(len(m.data)), Mode: 0o666, Typeflag: tar.TypeReg}
		if change != nil {
			change(h)
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, m.data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileTar(t *testing.T) {
	const (
		storages = "K\x01.(K\x07S'cpu'\nctorch\nFloatStorage\nt.\x02\x00\x00\x00\x00\x00\x00\x0012345678]."
		tensors  = "K\x01.(K\x09K\x07ctorch\nFloatTensor\nt.\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		pickle   = "}S'w'\nS'9'\nQs."
	)
	for _, tc := range []struct {
		name, storages, tensors, pickle, want string
	}{
		{"good", storages, tensors, pickle, ""},
		{"unknown id", storages, tensors, "}S'w'\nS'8'\nQs.", "persistent id '8' is not in the file"},
		{"module", storages, tensors, "}S'w'\n(K\x01tQs.", "whole modules"},
		{"evil storages", strings.Replace(storages, "ctorch\nFloatStorage", "cposix\nsystem", 1), tensors, pickle, `refers to "posix.system"`},
		{"evil tensors", storages, strings.Replace(tensors, "ctorch\nFloatTensor", "cposix\nsystem", 1), pickle, `refers to "posix.system"`},
		{"many storages", "J\x00\x00\x00\x7f.", tensors, pickle, "count is 2130706432"},
		{"negative count", "J\xff\xff\xff\xff.", tensors, pickle, "count is -1"},
		{"storages cut", storages[:len(storages)-6], tensors, pickle, "are left"},
		{"count of 2^62", strings.Replace(storages, "\x02\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x40", 1), tensors, pickle, "elements of 4 bytes"},
		{"rank", storages, strings.Replace(tensors, "t.\x01", "t.\xff", 1), pickle, "255 dimensions"},
		{"tensor leaves the storage", storages, strings.Replace(tensors, "\x00\x02\x00", "\x00\x03\x00", 1), pickle, "leaves its storage of 2 elements"},
		{"tensor without storage", storages, strings.Replace(tensors, "K\x09K\x07", "K\x09K\x08", 1), pickle, "storage 8, which is not in the file"},
		{"id twice", storages, strings.Replace(tensors, "K\x09K\x07", "K\x07K\x07", 1), pickle, "id 7 stands for two objects"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := openBytes(t, tarFile(t, tc.storages, tc.tensors, tc.pickle, nil))
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q in it", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if data, err := f.Tensors()[0].Load(); err != nil || string(data) != "12345678" {
				t.Errorf("read %q, %v", data, err)
			}
		})
	}
	_, err := openBytes(t, tarFile(t, "", "", "", func(h *tar.Header) { h.Typeflag = tar.TypeSymlink; h.Linkname = "/etc/passwd"; h.Size = 0 }))
	if err == nil {
		t.Error("a link was taken for a member")
	}
}

func TestScanFiles(t *testing.T) {
	for name, want := range readFixtures(t) {
		list, err := torch.Scan(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		safe := true
		for _, p := range list {
			safe = safe && p.Safe()
			for _, f := range p.Findings {
				if f.Global == want.Unsafe && f.Allowed {
					t.Errorf("%s: %s is allowed", name, f.Global)
				}
			}
		}
		if safe != (want.Unsafe == "") {
			t.Errorf("%s: safe is %v, unsafe global %q: %+v", name, safe, want.Unsafe, list)
		}
	}
	list, err := torch.Scan("testdata/evil.pt")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range list[0].Findings {
		found = found || f.Action == "call" && f.Global == "posix.system" && f.Args == "('true')"
	}
	if !found || list[0].Member != "evil/data.pkl" {
		t.Errorf("the call is not reported: %+v", list)
	}
}
