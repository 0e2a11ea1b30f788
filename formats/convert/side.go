package convert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/gguf"
)

const (
	sideKey         = "spdf.side" // in GGUF metadata
	sideMetadataKey = "spdf.side" // in safetensors metadata
	ggufKey         = "gguf"      // in safetensors metadata
)

// side is what a format has no place for. It is written only where something is
// in it.
type side struct {
	// Metadata are those of a safetensors file; Plain says that it had none,
	// Empty that they were {}.
	Metadata map[string]string `json:"metadata,omitempty"`
	Plain    bool              `json:"plain,omitempty"`
	Empty    bool              `json:"empty,omitempty"`
	// Types are tensors that are stored as something else with the same bytes.
	Types map[string]sideType `json:"types,omitempty"`
	// Narrow are tensors whose elements were widened, with the type they had.
	Narrow map[string]formats.DType `json:"narrow,omitempty"`
	// Unprefixed says that the model's names had no prefix.
	Unprefixed bool `json:"unprefixed,omitempty"`
	// Made says that the metadata of this GGUF file were made of what was known
	// of the model: they need not be carried.
	Made bool `json:"made,omitempty"`
	// GGUF are the metadata of a GGUF file.
	GGUF []jsonEntry `json:"gguf,omitempty"`
	// Aliases are further names of tensors, where the format stores a tensor
	// under one name only, or twice.
	Aliases map[string][]string `json:"aliases,omitempty"`
	// Config is that of a format which holds it.
	Config *Config `json:"config,omitempty"`
}

// sideType is the description that a tensor has in truth.
type sideType struct {
	DType formats.DType `json:"dtype"`
	Shape []int         `json:"shape"`
}

func (s side) empty() bool {
	return s.Metadata == nil && !s.Plain && !s.Empty && len(s.Types) == 0 && len(s.Narrow) == 0 && !s.Unprefixed && len(s.GGUF) == 0 &&
		len(s.Aliases) == 0 && s.Config == nil && !s.Made
}

// encode returns the record, nil if there is nothing in it. Maps are sorted.
func (s side) encode() ([]byte, error) {
	if s.empty() {
		return nil, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// applySide gives back what a side record says. A record that does not fit the
// tensors is an error: it was written with them.
func (c *Checkpoint) applySide(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("convert: %s: side record: "+format, append([]any{c.Path}, args...)...)
	}
	var s side
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return bad("%w", err)
	}
	if s.Plain || s.Empty || s.Metadata != nil {
		if c.text, c.textKnown = s.Metadata, true; s.Empty {
			c.text = map[string]string{}
		}
	}
	if s.Config != nil {
		c.Config, c.ownConfig = *s.Config, true
	}
	for _, name := range slices.Sorted(maps.Keys(s.Aliases)) {
		c.Aliases = append(c.Aliases, append([]string{name}, s.Aliases[name]...))
	}
	c.made = s.Made
	c.narrow = s.Narrow
	c.unprefixed = s.Unprefixed
	if s.GGUF != nil {
		entries, err := fromJSON(s.GGUF)
		if err != nil {
			return bad("%w", err)
		}
		c.entries = entries
	}
	for i, t := range c.Tensors {
		want, ok := s.Types[t.Name]
		if !ok {
			continue
		}
		delete(s.Types, t.Name)
		info := formats.Info{Name: t.Name, DType: want.DType, Shape: want.Shape}
		if info.Shape == nil {
			info.Shape = []int{}
		}
		if n, err := info.NumBytes(); err != nil || n != t.Bytes {
			return bad("tensor %q is %s with %d bytes, which is no %s", t.Name, t.Info, t.Bytes, info)
		}
		c.Tensors[i].Info = info
	}
	for name := range s.Types {
		return bad("tensor %q is not in the file", name)
	}
	return nil
}

// jsonEntry is an item of GGUF metadata in JSON. Numbers are JSON numbers, but
// floats that JSON does not have are texts; texts that are not UTF-8 are
// base64 in Bytes.
type jsonEntry struct {
	Key   string    `json:"key"`
	Value jsonValue `json:"value"`
}

type jsonValue struct {
	Type  string          `json:"type"`
	Value json.RawMessage `json:"v,omitempty"`
	Bytes []byte          `json:"b,omitempty"`
	Of    string          `json:"of,omitempty"`
	Items []jsonValue     `json:"items,omitempty"`
}

func toJSON(entries []gguf.Entry) ([]jsonEntry, error) {
	var out []jsonEntry
	for _, e := range entries {
		v, err := valueToJSON(e.Type, e.Value)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", e.Key, err)
		}
		out = append(out, jsonEntry{e.Key, v})
	}
	return out, nil
}

func valueToJSON(t gguf.ValueType, v any) (jsonValue, error) {
	j := jsonValue{Type: t.String()}
	switch v := v.(type) {
	case gguf.List:
		j.Of = v.Type.String()
		for _, item := range v.Items {
			i, err := valueToJSON(v.Type, item)
			if err != nil {
				return j, err
			}
			i.Type = "" // that of the array
			j.Items = append(j.Items, i)
		}
		return j, nil
	case string:
		text, err := json.Marshal(v)
		var back string
		if err != nil || json.Unmarshal(text, &back) != nil || back != v {
			j.Bytes = []byte(v)
			return j, nil
		}
		j.Value = text
		return j, nil
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			text = strconv.Quote(text)
		}
		j.Value = json.RawMessage(text)
		return j, nil
	case uint64, int64, bool:
		j.Value = json.RawMessage(fmt.Sprint(v))
		return j, nil
	}
	return j, fmt.Errorf("value is a %T", v)
}

func fromJSON(list []jsonEntry) ([]gguf.Entry, error) {
	var out []gguf.Entry
	for _, e := range list {
		t, ok := gguf.ParseValueType(e.Value.Type)
		if !ok {
			return nil, fmt.Errorf("key %q: type %q is unknown", e.Key, e.Value.Type)
		}
		v, err := valueFromJSON(t, e.Value, 0)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", e.Key, err)
		}
		out = append(out, gguf.Entry{Key: e.Key, Type: t, Value: v})
	}
	return out, nil
}

func valueFromJSON(t gguf.ValueType, j jsonValue, depth int) (any, error) {
	switch t {
	case gguf.Array:
		of, ok := gguf.ParseValueType(j.Of)
		if !ok || depth > 4 {
			return nil, fmt.Errorf("array of %q", j.Of)
		}
		l := gguf.List{Type: of}
		for _, item := range j.Items {
			v, err := valueFromJSON(of, item, depth+1)
			if err != nil {
				return nil, err
			}
			l.Items = append(l.Items, v)
		}
		return l, nil
	case gguf.String:
		if j.Bytes != nil || j.Value == nil {
			return string(j.Bytes), nil
		}
		var s string
		err := json.Unmarshal(j.Value, &s)
		return s, err
	case gguf.Bool:
		var b bool
		err := json.Unmarshal(j.Value, &b)
		return b, err
	case gguf.Float32, gguf.Float64:
		text := string(j.Value)
		if unquoted, err := strconv.Unquote(text); err == nil {
			text = unquoted
		}
		return strconv.ParseFloat(text, 64)
	case gguf.Int8, gguf.Int16, gguf.Int32, gguf.Int64:
		return strconv.ParseInt(string(j.Value), 10, 64)
	}
	return strconv.ParseUint(string(j.Value), 10, 64)
}

// encodeEntries and decodeEntries are the JSON text of GGUF metadata.
func encodeEntries(entries []gguf.Entry) (string, error) {
	list, err := toJSON(entries)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(list)
	return string(text), err
}

func decodeEntries(text []byte) ([]gguf.Entry, error) {
	var list []jsonEntry
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	return fromJSON(list)
}
