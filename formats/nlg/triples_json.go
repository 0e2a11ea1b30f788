package nlg

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// ReadDART reads a set of DART in JSON, one Example per record in the order of the
// file: an array of objects with "tripleset", a list of [subject, predicate,
// object], and "annotations", a list of objects with "text". Source is the
// linearised triple set with its predicates in lower case, as LoRA's pipeline
// makes it. An empty text is left out, and a record of which no text is left; the
// set counts them.
//
// Source: Nan et al., "DART: Open-Domain Structured Data Record to Text
// Generation", NAACL 2021.
func ReadDART(r io.Reader) (Set, error) {
	var set Set
	j := openJSON(r)
	if err := j.want(json.Delim('[')); err != nil {
		return Set{}, err
	}
	err := j.eachElement(func(raw json.RawMessage) error {
		var lists [][]string
		var texts []annotation
		if err := decodeFields(raw, map[string]any{"tripleset": &lists, "annotations": &texts}); err != nil {
			return err
		}
		triples := make([]Triple, len(lists))
		for i, l := range lists {
			if len(l) != 3 {
				return fmt.Errorf("triple %d has %d parts, want 3", i+1, len(l))
			}
			triples[i] = Triple{l[0], l[1], l[2]}
		}
		lowerPredicates(triples)
		return set.addTriples(triples, texts)
	})
	if err == nil {
		err = j.end()
	}
	if err != nil {
		return Set{}, err
	}
	return set, nil
}

// ReadWebNLGJSON reads the JSON form of WebNLG that LoRA's pipeline converts:
// {"entries": [{"1": {"modifiedtripleset": […], "lexicalisations": […]}}, …]}, the
// entries numbered from 1. What is left out is as for ReadWebNLG.
func ReadWebNLGJSON(r io.Reader) (Set, error) {
	var set Set
	j := openJSON(r)
	for _, t := range []json.Token{json.Delim('{'), "entries", json.Delim('[')} {
		if err := j.want(t); err != nil {
			return Set{}, err
		}
	}
	n := 0
	err := j.eachElement(func(raw json.RawMessage) error {
		n++
		var entry json.RawMessage
		if err := decodeFields(raw, map[string]any{strconv.Itoa(n): &entry}); err != nil {
			return err
		}
		var statements []struct{ Subject, Property, Object *string }
		var texts []annotation
		if err := decodeFields(entry, map[string]any{"modifiedtripleset": &statements, "lexicalisations": &texts}); err != nil {
			return err
		}
		triples := make([]Triple, len(statements))
		for i, s := range statements {
			if s.Subject == nil || s.Property == nil || s.Object == nil {
				return fmt.Errorf(`triple %d: no "subject", "property" or "object"`, i+1)
			}
			triples[i] = Triple{*s.Subject, *s.Property, *s.Object}
		}
		for i := range texts {
			texts[i].Text = texts[i].Lex
			if texts[i].Comment == "" {
				return fmt.Errorf(`text %d: no "comment"`, i+1)
			}
		}
		return set.addTriples(triples, texts)
	})
	if err == nil {
		err = j.want(json.Delim('}'))
	}
	if err == nil {
		err = j.end()
	}
	if err != nil {
		return Set{}, err
	}
	return set, nil
}

// annotation is a text of DART ("text") or of WebNLG ("lex" with a comment).
type annotation struct {
	Text    *string `json:"text"`
	Lex     *string `json:"lex"`
	Comment string  `json:"comment"`
}

// addTriples appends a record.
func (s *Set) addTriples(triples []Triple, list []annotation) error {
	if len(triples) == 0 {
		return errors.New("record without triples")
	}
	var texts []string
	for i, a := range list {
		if a.Text == nil {
			return fmt.Errorf("text %d is missing", i+1)
		}
		if a.Comment != "" && a.Comment != "good" {
			s.drop(fmt.Sprintf("text marked %.20s", a.Comment))
		} else if text, ok := s.keepText(*a.Text); ok {
			texts = append(texts, text)
		}
	}
	s.add(LinearizeTriples(triples), texts, len(list))
	return nil
}

// decodeFields decodes the named fields of a JSON object, all of which must be
// there and none null.
func decodeFields(raw json.RawMessage, into map[string]any) error {
	if !utf8.Valid(raw) {
		return errors.New("not UTF-8")
	}
	fields, err := objectFields(raw)
	if err != nil {
		return err
	}
	for key, dst := range into {
		value, ok := fields[key]
		if !ok || string(value) == "null" {
			return fmt.Errorf("no %q", key)
		}
		if err := json.Unmarshal(value, dst); err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
	}
	return nil
}
