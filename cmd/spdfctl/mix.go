package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/spdfctl/spdfctl/train/data"
)

// mix is the sources of a pre-training: a flag that may be repeated, each time
// PATH or PATH=WEIGHT, or in YAML one such text, or a list of them or of mappings
// with path and weight.
type mix []mixPart

// mixPart is one source.
type mixPart struct {
	Path   string `yaml:"path"`
	Weight string `yaml:"weight,omitempty"` // as it was given; empty: none was
}

// parseMixPart reads PATH or PATH=WEIGHT: what follows the last "=" is a weight
// if it is a number.
func parseMixPart(text string) mixPart {
	if i := strings.LastIndexByte(text, '='); i > 0 {
		if _, err := data.ParseWeight(text[i+1:]); err == nil {
			return mixPart{text[:i], text[i+1:]}
		}
	}
	return mixPart{Path: text}
}

func (p mixPart) String() string {
	if p.Weight == "" {
		return p.Path
	}
	return p.Path + "=" + p.Weight
}

// String, Set and Type make a mix a flag; Append, Replace and GetSlice one that
// holds a list.
func (m *mix) String() string { return strings.Join(m.GetSlice(), ",") }

func (m *mix) Set(text string) error { return m.Append(text) }

func (m *mix) Type() string { return "stringArray" }

func (m *mix) Append(text string) error {
	if text == "" {
		return errors.New("an empty path")
	}
	*m = append(slices.Clip(*m), parseMixPart(text))
	return nil
}

func (m *mix) Replace(texts []string) error {
	*m = nil
	for _, text := range texts {
		if err := m.Append(text); err != nil {
			return err
		}
	}
	return nil
}

func (m *mix) GetSlice() []string {
	list := make([]string, len(*m))
	for i, p := range *m {
		list[i] = p.String()
	}
	return list
}

// maxSources bounds the sources of a mix.
const maxSources = 1000

func (m *mix) UnmarshalYAML(node *yaml.Node) error {
	*m = nil
	items := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		items = node.Content
	}
	if len(items) > maxSources {
		return fmt.Errorf("line %d: %d sources, limit %d", node.Line, len(items), maxSources)
	}
	for _, item := range items {
		switch {
		case item.Kind == yaml.ScalarNode && item.Value == "" && item == node:
		case item.Kind == yaml.ScalarNode && item.Value != "":
			*m = append(*m, parseMixPart(item.Value))
		case item.Kind == yaml.MappingNode:
			var p mixPart
			for i := 0; i+1 < len(item.Content); i += 2 {
				key, value := item.Content[i], item.Content[i+1]
				switch {
				case value.Kind != yaml.ScalarNode || key.Value != "path" && key.Value != "weight":
					return fmt.Errorf("line %d: field %s is not a setting of a source, which has a path and a weight", key.Line, key.Value)
				case key.Value == "path":
					p.Path = value.Value
				default:
					if _, err := data.ParseWeight(value.Value); err != nil {
						return fmt.Errorf("line %d: %w", key.Line, err)
					}
					p.Weight = value.Value
				}
			}
			if p.Path == "" {
				return fmt.Errorf("line %d: a source without a path", item.Line)
			}
			*m = append(*m, p)
		default:
			return fmt.Errorf("line %d: a source is a path, PATH=WEIGHT, or a mapping of path and weight", item.Line)
		}
	}
	return nil
}

// MarshalYAML writes one source as a text, several as a list of texts, and in it
// as a mapping what would be read as something else.
func (m mix) MarshalYAML() (any, error) {
	if len(m) == 0 {
		return "", nil
	}
	list := make([]any, len(m))
	for i, p := range m {
		list[i] = p.String()
		if parseMixPart(p.String()) != p {
			list[i] = p
		}
	}
	if text, ok := list[0].(string); ok && len(list) == 1 {
		return text, nil
	}
	return list, nil
}

// check returns an error for weights that only some sources have, and for a
// source that is there twice.
func (m mix) check(key string) error {
	seen := map[string]bool{}
	for _, p := range m {
		path := filepath.Clean(p.Path)
		if seen[path] {
			return fmt.Errorf("pretrain: %s: %s is named twice", key, p.Path)
		}
		seen[path] = true
		if (p.Weight == "") != (m[0].Weight == "") {
			return fmt.Errorf("pretrain: %s: %s has a weight and %s has none: give all or none of them one", key, weighted(m, true), weighted(m, false))
		}
	}
	return nil
}

// weighted returns the first path with or without a weight.
func weighted(m mix, with bool) string {
	for _, p := range m {
		if (p.Weight != "") == with {
			return p.Path
		}
	}
	return ""
}
