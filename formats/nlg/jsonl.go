package nlg

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ReadJSONL reads JSON Lines, one Example per line. A line is an object with
// the string "prompt", or "context" as LoRA's files have it, and either the string "completion" or the list of strings
// "references"; other keys are ignored, blank lines too. Keys are matched
// exactly and must not repeat.
func ReadJSONL(r io.Reader) ([]Example, error) {
	var examples []Example
	err := eachObject(r, func(o object) error {
		if o.prompt == nil {
			return errors.New(`no "prompt"`)
		}
		refs, err := o.texts()
		if err != nil {
			return err
		}
		examples = append(examples, Example{Source: *o.prompt, References: refs})
		return nil
	})
	return examples, err
}

// ReadReferencesJSONL reads the references of one segment per line: the lines
// that ReadJSONL reads, with or without a prompt.
func ReadReferencesJSONL(r io.Reader) ([][]string, error) {
	var segments [][]string
	err := eachObject(r, func(o object) error {
		refs, err := o.texts()
		if err != nil {
			return err
		}
		segments = append(segments, refs)
		return nil
	})
	return segments, err
}

// object holds the keys of a line that mean something here; nil: absent.
type object struct {
	prompt, completion *string
	references         []string
}

func (o object) texts() ([]string, error) {
	switch {
	case o.completion != nil && o.references != nil:
		return nil, errors.New(`both "completion" and "references"`)
	case o.completion != nil:
		return []string{*o.completion}, nil
	case o.references == nil:
		return nil, errors.New(`neither "completion" nor "references"`)
	case len(o.references) == 0:
		return nil, errors.New(`"references" is empty`)
	}
	return o.references, nil
}

func eachObject(r io.Reader, f func(object) error) error {
	return eachLine(r, func(_ int, text []byte) error {
		if len(bytes.TrimSpace(text)) == 0 {
			return nil
		}
		o, err := parseObject(text)
		if err != nil {
			return err
		}
		return f(o)
	})
}

// parseObject decodes one line. "context" is what LoRA's files call a prompt.
func parseObject(text []byte) (object, error) {
	var o object
	fields, err := objectFields(text)
	if err != nil {
		return o, err
	}
	for key, value := range fields {
		switch key {
		case "prompt":
			o.prompt, err = stringOf(value)
		case "context":
			if fields["prompt"] != nil {
				return o, errors.New(`both "prompt" and "context"`)
			}
			o.prompt, err = stringOf(value)
		case "completion":
			o.completion, err = stringOf(value)
		case "references":
			o.references, err = stringsOf(value)
		}
		if err != nil {
			return o, fmt.Errorf("%q %w", key, err)
		}
	}
	return o, nil
}

// objectFields splits a JSON object token by token, because json.Unmarshal accepts
// repeated keys and ignores their letter case.
func objectFields(text []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil {
		return nil, jsonError(err)
	} else if t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	fields := make(map[string]json.RawMessage)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, jsonError(err)
		}
		key, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("key %v is not a string", t)
		}
		if _, twice := fields[key]; twice {
			return nil, fmt.Errorf("key %.40q twice", key)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, jsonError(err)
		}
		fields[key] = value
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, jsonError(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("text after the JSON object")
	}
	return fields, nil
}

func jsonError(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("JSON: %w", err)
}

// stringOf wants a string: null, which Unmarshal takes for an empty one, is none.
func stringOf(value json.RawMessage) (*string, error) {
	var s *string
	if err := json.Unmarshal(value, &s); err != nil || s == nil {
		return nil, errors.New("is not a string")
	}
	return s, nil
}

// stringsOf wants a list of strings and returns a non-nil slice.
func stringsOf(value json.RawMessage) ([]string, error) {
	var list []*string
	if err := json.Unmarshal(value, &list); err != nil || list == nil {
		return nil, errors.New("is not a list of strings")
	}
	out := make([]string, len(list))
	for i, s := range list {
		if s == nil {
			return nil, errors.New("is not a list of strings")
		}
		out[i] = *s
	}
	return out, nil
}
