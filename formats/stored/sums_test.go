package stored_test

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/stored"
)

func TestCheckSums(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, method := range map[string]uint16{"stored": zip.Store, "deflated": zip.Deflate} {
		m, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Write([]byte(strings.Repeat(name, 9))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	directory := func(data []byte, name string) []byte { // the entry's CRC is 30 bytes before its name
		at := bytes.LastIndex(data, []byte(name))
		return data[at-30 : at-26]
	}
	for _, c := range []struct {
		how, want string
		change    func(data []byte)
	}{
		{"as it is", "", func([]byte) {}},
		{"a byte of the content", `member "stored" has the CRC-32 `, func(data []byte) { data[bytes.Index(data, []byte("storedstored"))+20]++ }},
		{"a sum", `member "deflated" has the CRC-32 `, func(data []byte) { directory(data, "deflated")[1]++ }},
		{"no sums", "", func(data []byte) { clear(directory(data, "deflated")); clear(directory(data, "stored")) }},
	} {
		data := bytes.Clone(b.Bytes())
		c.change(data)
		path := filepath.Join(t.TempDir(), "x.zip")
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		f, err := stored.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := stored.OpenZip(f)
		if err != nil {
			t.Fatal(c.how, err)
		}
		if err := z.CheckSums(); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.how, err, c.want)
		}
	}
}
