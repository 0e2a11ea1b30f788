package nlg_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats/nlg"
)

// FuzzE2E checks that what ReadE2E accepts survives writing and reading, and
// that a meaning representation it accepts linearises without a panic.
func FuzzE2E(f *testing.F) {
	f.Add([]byte("mr,ref\r\n\"name[A], area[b]\",\"He said \"\"A\"\".\"\r\nname[B],x\r\n"))
	f.Add([]byte("MR\nname[The Mill], priceRange[£20-25]\n"))
	f.Add([]byte("\ufeffmr,ref\nname[A],\"one\r\ntwo\"\n"))
	f.Add([]byte("mr,ref\na[b],\"open\n"))
	f.Add([]byte("mr,ref\n\"\xff\",\n"))
	f.Add([]byte("mr,ref\n\"\r\r\nd\","))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := nlg.ReadE2E(bytes.NewReader(data))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if len(rows) > 0 && rows[0].References == nil {
			writeRecord(&b, "MR")
		} else {
			writeRecord(&b, "mr", "ref")
		}
		for _, row := range rows {
			writeRecord(&b, append([]string{row.Source}, row.References...)...)
			if _, err := nlg.LinearizeMR(row.Source); err == nil && !strings.Contains(row.Source, "[") {
				t.Errorf("LinearizeMR accepts %q", row.Source)
			}
		}
		again, err := nlg.ReadE2E(&b)
		if err != nil {
			t.Fatalf("reading what was written: %v", err)
		}
		if d := cmp.Diff(rows, again); d != "" {
			t.Fatalf("-first +again:\n%s", d)
		}
	})
}

// writeRecord writes one record of CSV. Every line feed gets the carriage
// return that the reader drops; csv.Writer does not do that.
func writeRecord(b *bytes.Buffer, fields ...string) {
	escape := strings.NewReplacer("\"", "\"\"", "\n", "\r\n")
	for i, field := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\"" + escape.Replace(field) + "\"")
	}
	b.WriteString("\r\n")
}

// FuzzTable checks that what ReadTable accepts survives writing and reading.
func FuzzTable(f *testing.F) {
	f.Add([]byte("prompt,completion\na,b\n"))
	f.Add([]byte("\ufeffid,completion,prompt\r\n1,\"two\nlines\",\"a \"\"b\"\"\"\r\n"))
	f.Add([]byte("prompt,prompt,completion\na,b,c\n"))
	f.Add([]byte("prompt,completion\n\"open\n"))
	f.Add([]byte("prompt,completion\n\xff,x\n,y\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := nlg.ReadTable(bytes.NewReader(data))
		if err != nil {
			return
		}
		var b bytes.Buffer
		writeRecord(&b, "prompt", "completion")
		for _, row := range rows {
			writeRecord(&b, append([]string{row.Source}, row.References...)...)
		}
		again, err := nlg.ReadTable(&b)
		if err != nil {
			t.Fatalf("reading what was written: %v", err)
		}
		if d := cmp.Diff(rows, again); d != "" {
			t.Fatalf("-first +again:\n%s", d)
		}
	})
}

// FuzzJSONL checks that what ReadJSONL accepts has a text for every example.
func FuzzJSONL(f *testing.F) {
	f.Add([]byte(`{"prompt":"p","completion":"c"}`))
	f.Add([]byte("{\"references\":[\"a\",\"b\"],\"prompt\":\"q\",\"id\":{}}\n\n"))
	f.Add([]byte(`{"prompt":"p","prompt":"p"}`))
	f.Add([]byte(`{"prompt":{},"completion":[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		examples, err := nlg.ReadJSONL(bytes.NewReader(data))
		if err != nil {
			return
		}
		for i, e := range examples {
			if len(e.References) == 0 {
				t.Errorf("example %d has no reference", i)
			}
		}
		if refs, err := nlg.ReadReferencesJSONL(bytes.NewReader(data)); err != nil || len(refs) != len(examples) {
			t.Errorf("ReadReferencesJSONL: %d segments, %v, want %d", len(refs), err, len(examples))
		}
	})
}
