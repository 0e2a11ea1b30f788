package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxQuickdata bounds what quickstart's data adds to the binary, in bytes.
const maxQuickdata = 1_600_000

// hashLine is a row of the README that ends in a SHA-256.
var hashLine = regexp.MustCompile("(?m)^\\| .* `[0-9a-f]{64}` \\|$")

// TestQuickdataIsAsDocumented compares the embedded files with the table of
// their README: none missing, none unlisted, sizes and hashes as they say.
func TestQuickdataIsAsDocumented(t *testing.T) {
	readme, err := os.ReadFile("quickdata/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("quickdata/*/*.gz")
	if err != nil {
		t.Fatal(err)
	}
	if listed := len(hashLine.FindAll(readme, -1)); len(files) == 0 || listed != len(files) {
		t.Errorf("%d files, README lists %d", len(files), listed)
	}
	total := 0
	for _, name := range files {
		packed, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		total += len(packed)
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if r.Name != "" || !r.ModTime.IsZero() {
			t.Errorf("%s: gzip header holds name %q and time %v, want neither", name, r.Name, r.ModTime)
		}
		rel, _ := strings.CutPrefix(filepath.ToSlash(name), "quickdata/")
		line := fmt.Sprintf("| `%s` | %d | %d | `%x` |\n", rel, len(text), len(packed), sha256.Sum256(text))
		if !bytes.Contains(readme, []byte(line)) {
			t.Errorf("README has no line %q", line)
		}
	}
	if total > maxQuickdata {
		t.Errorf("files hold %d bytes, limit %d", total, maxQuickdata)
	}
}
