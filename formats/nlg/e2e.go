package nlg

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Headers of the E2E files: the sets with references, the blind test set and the
// cleaned sets.
var (
	e2eHeader      = []string{"mr", "ref"}
	e2eBlindHeader = []string{"MR"}
	e2eCleanHeader = []string{"mr", "ref", "fixed", "orig_mr"}
)

// ReadE2E reads a set of the E2E NLG challenge in CSV, one Example per row in
// the order of the file: Source is the meaning representation, References its
// one text, or none if the file has only meaning representations. Group joins
// the rows of one meaning representation; LinearizeMR makes a prompt of it.
//
// Fields are returned as they stand, spaces included. It is strict about the
// header, the number of fields, quotes and UTF-8, and refuses a row without a
// meaning representation; a byte order mark at the start is dropped.
//
// The cleaned sets, with the header mr,ref,fixed,orig_mr, are read too: their
// meaning representations are the repaired ones of the first column.
//
// Source: Novikova, Dušek, Rieser, "The E2E Dataset", SIGDIAL 2017; Dušek,
// Howcroft, Rieser, "Semantic Noise Matters for NLG", INLG 2019.
func ReadE2E(r io.Reader) ([]Example, error) {
	f := newCSVFile(r)
	header, err := f.header(`no header, want "mr,ref" or "MR"`)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(header, e2eHeader) && !slices.Equal(header, e2eBlindHeader) && !slices.Equal(header, e2eCleanHeader) {
		return nil, &LineError{Line: 1, Err: fmt.Errorf(`header is %.80q, want "mr,ref", "MR" or %q`, strings.Join(header, ","), strings.Join(e2eCleanHeader, ","))}
	}
	return f.rows(func(fields []string) (Example, error) {
		for i, field := range fields {
			if !utf8.ValidString(field) {
				return Example{}, fmt.Errorf("field %d is not UTF-8", i+1)
			}
		}
		if fields[0] == "" {
			return Example{}, errors.New("empty meaning representation")
		}
		row := Example{Source: strings.Clone(fields[0])}
		if len(fields) > 1 {
			row.References = []string{strings.Clone(fields[1])}
		}
		return row, nil
	})
}

// csvError turns an error of encoding/csv into one that names the line.
func csvError(err error, line int) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		if parse.Line != parse.StartLine {
			// An open quote is found at the end of the file but is where the record starts.
			return &LineError{Line: parse.StartLine, Err: fmt.Errorf("record to line %d: %w", parse.Line, parse.Err)}
		}
		return &LineError{Line: parse.Line, Err: fmt.Errorf("column %d: %w", parse.Column, parse.Err)}
	}
	return &LineError{Line: line, Err: err}
}

// readAhead is how far the readers of CSV and XML read ahead of the record they
// return: one buffer of bufio.
const readAhead = 4096

// recordReader fails once it has handed out limit bytes. Its owner moves the
// limit with every record, which bounds one whose quote is never closed.
type recordReader struct {
	r          io.Reader
	read       int64
	limit      int64
	afterLimit [1]byte
}

func (b *recordReader) Read(p []byte) (int, error) {
	left := min(b.limit, maxFile) - b.read
	if left <= 0 {
		// Exactly at the limit the file may still end well.
		n, err := io.ReadFull(b.r, b.afterLimit[:])
		if n == 0 {
			return 0, err
		}
		if b.read >= maxFile {
			return 0, fmt.Errorf("file has more than %d bytes, the limit", maxFile)
		}
		return 0, fmt.Errorf("record has more than %d bytes, the limit", MaxRecord)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), left)])
	b.read += int64(n)
	return n, err
}

// Slot is one attribute of a meaning representation.
type Slot struct{ Name, Value string }

// ParseMR splits a meaning representation such as
//
//	name[The Eagle], priceRange[£20-25]
//
// into its slots. Names and values lose the spaces around them; neither may
// contain a square bracket, and no name may be empty.
func ParseMR(mr string) ([]Slot, error) {
	var slots []Slot
	for rest := strings.TrimSpace(mr); ; {
		name, after, ok := strings.Cut(rest, "[")
		if !ok {
			return nil, fmt.Errorf("nlg: meaning representation %.80q: no [ after %.40q", mr, rest)
		}
		value, after, ok := strings.Cut(after, "]")
		if !ok {
			return nil, fmt.Errorf("nlg: meaning representation %.80q: no ] after %.40q", mr, name+"[")
		}
		name = strings.TrimSpace(name)
		if name == "" || strings.ContainsAny(name, "],") || strings.Contains(value, "[") {
			return nil, fmt.Errorf("nlg: meaning representation %.80q: stray bracket, comma or empty name at slot %d", mr, len(slots)+1)
		}
		slots = append(slots, Slot{name, strings.TrimSpace(value)})
		after = strings.TrimSpace(after)
		if after == "" {
			return slots, nil
		}
		rest, ok = strings.CutPrefix(after, ",")
		if !ok {
			return nil, fmt.Errorf("nlg: meaning representation %.80q: want a comma before %.40q", mr, after)
		}
	}
}

// slotNames are the attributes that LoRA's files call otherwise than E2E does.
var slotNames = map[string]string{
	"eatType":        "Type",
	"priceRange":     "price",
	"familyFriendly": "family friendly",
}

// valueSpaces detaches the two punctuation marks that E2E's values contain.
var valueSpaces = strings.NewReplacer("£", " £ ", "-", " - ")

// LinearizeMR renders a meaning representation as the prompt that the GPT-2
// experiments of LoRA and SPDF fine-tune on:
//
//	name : The Eagle | price : £ 20 - 25
//
// Slots keep their order; a pound sign and a hyphen in a value stand apart, as
// in those files, whose text is tokenised. On the development and test sets
// of E2E all 9365 lines come out byte for byte as in LoRA's.
//
// Source: Hu et al., "LoRA", 2021, and its examples/NLG/data/e2e.
func LinearizeMR(mr string) (string, error) {
	slots, err := ParseMR(mr)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, slot := range slots {
		if i > 0 {
			b.WriteString(" | ")
		}
		name := slot.Name
		if other, ok := slotNames[name]; ok {
			name = other
		}
		b.WriteString(name)
		b.WriteString(" : ")
		b.WriteString(strings.Join(strings.Fields(valueSpaces.Replace(slot.Value)), " "))
	}
	return b.String(), nil
}
