package nlg

import (
	"fmt"
	"strings"
)

// Set is a data set as it was read: a prompt with its texts per record, and what
// was left out of it.
type Set struct {
	Examples []Example
	Drops    []Drop
}

// Drop counts what a reader left out for one reason.
type Drop struct {
	Reason string // such as "text marked toFix"
	Count  int
}

// drop counts one omission.
func (s *Set) drop(reason string) { s.dropN(reason, 1) }

func (s *Set) dropN(reason string, n int) {
	for i := range s.Drops {
		if s.Drops[i].Reason == reason {
			s.Drops[i].Count += n
			return
		}
	}
	s.Drops = append(s.Drops, Drop{reason, n})
}

// merge appends what another file of the same set holds.
func (s *Set) merge(o Set) {
	s.Examples = append(s.Examples, o.Examples...)
	for _, d := range o.Drops {
		s.dropN(d.Reason, d.Count)
	}
}

// Texts returns the number of texts of all examples.
func (s Set) Texts() int {
	n := 0
	for _, e := range s.Examples {
		n += len(e.References)
	}
	return n
}

// String says how many records and texts the set has, and what was left out and why:
//
//	872 records with 2258 texts; left out: 10 × text marked toFix
func (s Set) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d records with %d texts; left out: ", len(s.Examples), s.Texts())
	for i, d := range s.Drops {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d × %s", d.Count, d.Reason)
	}
	if len(s.Drops) == 0 {
		b.WriteString("nothing")
	}
	return b.String()
}

// add appends a record with the texts that are left of it; a record whose texts
// are all left out is left out too.
func (s *Set) add(prompt string, texts []string, had int) {
	if len(texts) == 0 && had > 0 {
		s.drop("record without a text left")
		return
	}
	s.Examples = append(s.Examples, Example{Source: prompt, References: texts})
}

// keepText returns the text without spaces around it and whether there is one;
// an empty one is counted.
func (s *Set) keepText(text string) (string, bool) {
	if text = strings.TrimSpace(text); text == "" {
		s.drop("empty text")
		return "", false
	}
	return text, true
}
