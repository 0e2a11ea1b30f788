package maskfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"
)

// document is the JSON object of the metadata. The order of its fields is the
// order in which they are written.
type document struct {
	FormatVersion    int     `json:"format_version"`
	Method           string  `json:"method"`
	Distribution     string  `json:"distribution"`
	Pattern          string  `json:"pattern"`
	Scope            string  `json:"scope"`
	Sparsity         string  `json:"sparsity"`
	Compat           string  `json:"compat"`
	Generator        string  `json:"generator"`
	Seed             string  `json:"seed"` // a string: JSON readers round numbers past 2^53
	ParentSHA256     string  `json:"parent_sha256"`
	Parameters       int     `json:"parameters"`
	Kept             int     `json:"kept"`
	Total            int     `json:"total"`
	RealisedSparsity float64 `json:"realised_sparsity"`
	Tensors          []entry `json:"tensors"`
}

// entry is one mask in the metadata.
type entry struct {
	Name   string `json:"name"`
	Part   string `json:"part"`
	Shape  [2]int `json:"shape"` // (out, in)
	Kept   int    `json:"kept"`
	SHA256 string `json:"sha256"`
}

// The keys of the object and of its entries.
var (
	documentKeys = []string{
		"format_version", "method", "distribution", "pattern", "scope", "sparsity", "compat", "generator", "seed",
		"parent_sha256", "parameters", "kept", "total", "realised_sparsity", "tensors",
	}
	entryKeys = []string{"name", "part", "shape", "kept", "sha256"}
)

// parseDocument reads the object. It is stricter than encoding/json, which
// takes keys twice, keys in the wrong case, keys left out, null for anything,
// and arrays of the wrong length.
func parseDocument(text []byte) (*document, error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("metadata are not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := checkObject(dec, documentKeys); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("metadata go on after the object")
	}
	d := new(document)
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	return d, nil
}

// checkObject reads one object from dec and makes sure that it has exactly the
// given keys, each once.
func checkObject(dec *json.Decoder, keys []string) error {
	if err := expect(dec, json.Delim('{')); err != nil {
		return err
	}
	missing := make(map[string]bool, len(keys))
	for _, k := range keys {
		missing[k] = true
	}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return fmt.Errorf("metadata: %w", err)
		}
		key, _ := token.(string)
		if !missing[key] {
			return fmt.Errorf("metadata have the key %.40q twice, or none of that name is known", key)
		}
		delete(missing, key)
		switch key {
		case "tensors":
			err = checkArray(dec, func() error { return checkObject(dec, entryKeys) })
		case "shape":
			n := 0
			err = checkArray(dec, func() error { n++; return checkScalar(dec) })
			if err == nil && n != 2 {
				err = fmt.Errorf("metadata have a shape of %d dimensions, want 2", n)
			}
		default:
			err = checkScalar(dec)
		}
		if err != nil {
			return err
		}
	}
	for _, k := range keys {
		if missing[k] {
			return fmt.Errorf("metadata lack the key %q", k)
		}
	}
	return expect(dec, json.Delim('}'))
}

// checkArray reads one array from dec whose elements are read by element.
func checkArray(dec *json.Decoder, element func() error) error {
	if err := expect(dec, json.Delim('[')); err != nil {
		return err
	}
	for dec.More() {
		if err := element(); err != nil {
			return err
		}
	}
	return expect(dec, json.Delim(']'))
}

// checkScalar reads a string or a number from dec.
func checkScalar(dec *json.Decoder) error {
	token, err := dec.Token()
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	switch token.(type) {
	case string, float64:
		return nil
	}
	return fmt.Errorf("metadata have %v where a string or a number is wanted", token)
}

func expect(dec *json.Decoder, want json.Delim) error {
	token, err := dec.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	if token != want {
		return fmt.Errorf("metadata have %.40q where %q is wanted", fmt.Sprint(token), want.String())
	}
	return nil
}
