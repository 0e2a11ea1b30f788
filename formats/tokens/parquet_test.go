package tokens_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pq "github.com/parquet-go/parquet-go"

	"github.com/spdfctl/spdfctl/formats/tokens"
)

// TestParquetDocuments: rows are documents in order, those without text are left
// out, and the file is described by its bytes.
func TestParquetDocuments(t *testing.T) {
	type row struct {
		ID   int64   `parquet:"id"`
		Body *string `parquet:"body,optional,snappy"`
		Tags []string
	}
	first, second, none, bad := "one\ntwo", "three", "", "\xff"
	var b bytes.Buffer
	if err := pq.Write(&b, []row{{1, &first, nil}, {2, nil, nil}, {3, &none, nil}, {4, &second, []string{"a", "b"}}}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "a.parquet"), b.Bytes())
	read := func(path, field string) (texts []string, files []tokens.File, err error) {
		files, err = tokens.ReadDocuments(context.Background(), []string{path}, tokens.Reading{Field: field}, func(p tokens.Piece) error {
			if !p.First || !p.Last {
				t.Errorf("%q is a part of a document", p.Text)
			}
			texts = append(texts, string(p.Text))
			return nil
		})
		return texts, files, err
	}
	texts, files, err := read(path, "body")
	if diff := cmp.Diff([]string{first, second}, texts); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	sum := sha256.Sum256(b.Bytes())
	if len(files) != 1 || files[0].Bytes != int64(b.Len()) || files[0].SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the file is described as %+v, it has %d bytes and SHA-256 %x", files, b.Len(), sum)
	}
	var broken bytes.Buffer
	if err := pq.Write(&broken, []row{{1, &first, nil}, {2, &bad, nil}}); err != nil {
		t.Fatal(err)
	}
	other := write(t, filepath.Join(dir, "b.parquet"), broken.Bytes())
	for _, c := range []struct{ path, field, want string }{
		{path, "text", `a.parquet: parquet: no column "text" among "id,body,Tags"`},
		{path, "id", `column "id" is INT(64,true), want text`},
		{other, "body", `b.parquet: row 2: column "body" is not UTF-8`},
	} {
		if _, _, err := read(c.path, c.field); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
