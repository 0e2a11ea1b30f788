package torch_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/formats/torch"
)

func writeFile(path string, data []byte) error { return os.WriteFile(path, data, 0o666) }

// addFixtures adds the fixtures, and some of the hostile files, as seeds.
func addFixtures(f *testing.F) {
	files, err := filepath.Glob("testdata/*.pt")
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
	pkl := tensorPickle("FloatStorage", "0", 2, "")
	f.Add(zipFile(f, member{"a/data.pkl", pkl, 0}, member{"a/data/0", "12345678", 8}, member{"a/byteorder", "big", 0}))
	f.Add([]byte(preamble + tensorPickle("FloatStorage", "7", 2, "N") + "]X\x01\x00\x00\x007a.\x02\x00\x00\x00\x00\x00\x00\x0012345678"))
	f.Add(tarFile(f, "K\x00.].", "K\x00.", "}.", nil))
}

// FuzzOpen: whatever a file holds, opening and reading end with tensors of the
// size that they claim, or with an error; what can be read can be written and
// read again.
func FuzzOpen(f *testing.F) {
	addFixtures(f)
	path := filepath.Join(f.TempDir(), "file.pt")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := writeFile(path, data); err != nil {
			t.Fatal(err)
		}
		for _, o := range []torch.Options{{}, {SkipObjects: true}} {
			file, err := torch.Open(path, o)
			if err != nil {
				continue
			}
			var readable []stored.Tensor
			for _, tensor := range file.Tensors() {
				if tensor.Bytes > 1<<20 {
					continue
				}
				if content, err := tensor.Load(); err == nil {
					if int64(len(content)) != tensor.Bytes {
						t.Errorf("%q: %d bytes, want %d", tensor.Name, len(content), tensor.Bytes)
					}
					readable = append(readable, tensor)
				}
			}
			checkRewrite(t, readable)
			file.Close()
		}
	})
}

func checkRewrite(t *testing.T, tensors []stored.Tensor) {
	want := sums(t, tensors)
	var b bytes.Buffer
	if err := torch.Write(&b, tensors, torch.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "again.pt")
	if err := writeFile(again, b.Bytes()); err != nil {
		t.Fatal(err)
	}
	f, err := torch.Open(again, torch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := sums(t, f.Tensors())
	if len(got) != len(want) {
		t.Fatalf("%d tensors, want %d", len(got), len(want))
	}
	for name, sum := range want {
		if got[name] != sum {
			t.Errorf("%q is %s, want %s", name, got[name], sum)
		}
	}
}

// FuzzScan: what the loader accepts, the scan finds nothing in.
func FuzzScan(f *testing.F) {
	addFixtures(f)
	path := filepath.Join(f.TempDir(), "file.pt")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := writeFile(path, data); err != nil {
			t.Fatal(err)
		}
		list, scanErr := torch.Scan(path)
		file, err := torch.Open(path, torch.Options{})
		if err != nil {
			return
		}
		file.Close()
		if scanErr != nil {
			t.Fatalf("Open reads it, Scan says %v", scanErr)
		}
		for _, p := range list {
			if !p.Safe() && (p.Member == "" || filepath.Base(p.Member) == "data.pkl") {
				t.Fatalf("Open reads it, Scan finds %+v", p)
			}
		}
	})
}

// FuzzUnpickle runs the machine alone, which the other targets reach only
// through a valid container.
func FuzzUnpickle(f *testing.F) {
	for _, s := range []string{"}(K\x01K\x02u.", "cposix\nsystem\n(S'true'\ntR.", tensorPickle("FloatStorage", "0", 2, ""), preamble, "\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00]\x94h\x00a."} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := torch.ScanPickle(bytes.NewReader(data), "", 0, int64(len(data)))
		for _, finding := range p.Findings {
			if finding.Count < 1 || finding.Offset < 0 || finding.Offset >= int64(len(data)) {
				t.Errorf("finding %+v", finding)
			}
		}
	})
}

// FuzzIndex: an index names files beside itself or is refused.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":1},"weight_map":{"a":"pytorch_model-00001-of-00001.bin"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../x","b":"c:\\x"}}`))
	dir := f.TempDir()
	path := filepath.Join(dir, "pytorch_model.bin.index.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := writeFile(path, data); err != nil {
			t.Fatal(err)
		}
		file, err := torch.Open(path, torch.Options{})
		if err == nil {
			file.Close()
			t.Fatal("opened an index without a shard")
		}
	})
}
