package parquet_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pq "github.com/parquet-go/parquet-go"

	"github.com/spdfctl/spdfctl/formats/parquet"
)

type record struct {
	Prompt     string   `parquet:"prompt,dict"`
	Completion *string  `parquet:"completion,optional,zstd"`
	References []string `parquet:"references,list"`
	ID         int64    `parquet:"id"`
}

// records has more rows than a row group, a buffer and a page hold.
func records(n int) []record {
	list := make([]record, n)
	for i := range list {
		list[i] = record{Prompt: strings.Repeat("p", i%7), ID: int64(i)}
		if i%3 > 0 {
			text := strings.Repeat("c", i%5)
			list[i].Completion = &text
		}
		for j := range i % 4 {
			list[i].References = append(list[i].References, strings.Repeat("r", i+j))
		}
	}
	return list
}

func encode(t testing.TB, list []record) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pq.NewGenericWriter[record](&b, pq.MaxRowsPerRowGroup(100), pq.PageBufferSize(256))
	if _, err := w.Write(list); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(data []byte) (*parquet.File, error) {
	return parquet.Open(bytes.NewReader(data), int64(len(data)))
}

func TestRead(t *testing.T) {
	list := records(333)
	f, err := open(encode(t, list))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"prompt", "completion", "references", "id"}, f.Columns()); diff != "" {
		t.Errorf("columns -want +got:\n%s", diff)
	}
	i := 0
	err = f.Read([]string{"references", "completion", "prompt"}, func(row [][]string) error {
		want := list[i]
		var completion []string
		if want.Completion != nil {
			completion = []string{*want.Completion}
		}
		if diff := cmp.Diff([][]string{want.References, completion, {want.Prompt}}, row, cmp.Transformer("nil", func(s []string) string { return strings.Join(s, "|") })); diff != "" {
			t.Fatalf("row %d -want +got:\n%s", i, diff)
		}
		i++
		return nil
	})
	if err != nil || i != len(list) {
		t.Errorf("%d rows, want %d: %v", i, len(list), err)
	}
	stop := errors.New("stop")
	if err := f.Read([]string{"prompt"}, func([][]string) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of yield became %v", err)
	}
}

func TestRefusals(t *testing.T) {
	good := encode(t, records(20))
	f, err := open(good)
	if err != nil {
		t.Fatal(err)
	}
	for column, want := range map[string]string{
		"text": `no column "text" among "prompt,completion,references,id"`,
		"id":   `column "id" is INT(64,true), want text`,
	} {
		if err := f.Read([]string{column}, func([][]string) error { return nil }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", column, err, want)
		}
	}
	long := bytes.Clone(good)
	copy(long[len(long)-8:], []byte{0xff, 0xff, 0xff, 0x7f})
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"short":       {good[:11], "too few"},
		"cut":         {good[:len(good)-3], "ends with"},
		"no Parquet":  {[]byte("this is no such file"), "begins with"},
		"long footer": {long, "footer is 2147483647 bytes, limit"},
		"no footer":   {[]byte("PAR1\x00\x00\x00\x00PAR1"), "parquet: "},
	} {
		if _, err := open(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// FuzzRead checks that no file panics or reads for ever.
func FuzzRead(f *testing.F) {
	f.Add(encode(f, records(3)))
	f.Add(encode(f, records(130)))
	f.Add([]byte("PAR1\x00\x00\x00\x00PAR1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := open(data)
		if err != nil {
			return
		}
		rows := 0
		_ = p.Read(p.Columns(), func([][]string) error {
			if rows++; rows > 1000 {
				return errors.New("enough")
			}
			return nil
		})
		for _, name := range p.Columns() {
			_ = p.Read([]string{name}, func([][]string) error { return errors.New("enough") })
		}
	})
}
