package torch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/formats/stored"
)

const (
	maxIndex  = 64 << 20 // bytes
	maxShards = 4096
)

// openIndex opens an index and every shard that it names, in the order of their
// names: each tensor in exactly the shard that weight_map gives.
func (f *File) openIndex(path string, o Options) error {
	weights, err := readIndex(path)
	if err != nil {
		return inFile(path, "", err)
	}
	names := make(map[string]struct{})
	for _, shard := range weights {
		names[shard] = struct{}{}
	}
	if len(names) > maxShards {
		return inFile(path, "", unsupported("index names %d shards, limit %d", len(names), maxShards))
	}
	in := make(map[string]string)
	for _, shard := range slices.Sorted(maps.Keys(names)) {
		before := len(f.tensors)
		if err := f.add(filepath.Join(filepath.Dir(path), shard), o); err != nil {
			return err
		}
		for _, t := range f.tensors[before:] {
			if other, ok := in[t.Name]; ok {
				return inFile(path, "", malformed("tensor %q is in %s and in %s", shorten(t.Name), other, shard))
			}
			in[t.Name] = shard
			if want, ok := weights[t.Name]; !ok || want != shard {
				return inFile(path, "", malformed("tensor %q is in %s, weight_map says %q", shorten(t.Name), shard, shorten(want)))
			}
		}
	}
	for _, r := range f.refusals {
		in[r.Name] = ""
	}
	for _, name := range slices.Sorted(maps.Keys(weights)) {
		if _, ok := in[name]; !ok {
			return inFile(path, "", malformed("tensor %q is not in %s, where weight_map has it", shorten(name), weights[name]))
		}
	}
	return nil
}

// readIndex returns the weight_map, the shard of each tensor.
func readIndex(path string) (map[string]string, error) {
	source, err := stored.Open(path)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	if source.Size() > maxIndex {
		return nil, unsupported("index is %d bytes, limit %d", source.Size(), maxIndex)
	}
	text := make([]byte, source.Size())
	if err := source.ReadFull(text, 0); err != nil {
		return nil, err
	}
	return parseIndex(text)
}

// parseIndex returns the weight_map of an index whose shards all have plain names.
func parseIndex(text []byte) (map[string]string, error) {
	var weights map[string]string
	d := json.NewDecoder(bytes.NewReader(text))
	if err := eachMember(d, func(key string) error {
		if key != "weight_map" {
			var other json.RawMessage
			return d.Decode(&other)
		}
		if weights != nil {
			return errors.New("weight_map occurs twice")
		}
		weights = make(map[string]string)
		return eachMember(d, func(tensor string) error {
			var shard string
			if err := d.Decode(&shard); err != nil {
				return err
			}
			if _, ok := weights[tensor]; ok {
				return fmt.Errorf("tensor %q occurs twice", shorten(tensor))
			}
			if err := checkShardName(shard); err != nil {
				return fmt.Errorf("tensor %q: shard %q %w", shorten(tensor), shorten(shard), err)
			}
			weights[tensor] = shard
			return nil
		})
	}); err != nil {
		return nil, malformed("index: %s", shorten(err.Error()))
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, malformed("index: something follows the object")
	}
	if len(weights) == 0 {
		return nil, malformed("index has no weight_map, or an empty one")
	}
	return weights, nil
}

// eachMember calls member after each key of an object, to read the value.
func eachMember(d *json.Decoder, member func(key string) error) error {
	open, err := d.Token()
	if err != nil {
		return err
	}
	if open != json.Delim('{') {
		return fmt.Errorf("got %v, want an object", open)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := key.(string)
		if !ok {
			return fmt.Errorf("got %v, want a key", key)
		}
		if err := member(name); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// checkShardName accepts only a plain name, on any system, of a file beside the
// index.
func checkShardName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return errors.New("is not the name of a file")
	case strings.ContainsAny(name, "/\\:\x00"):
		return errors.New("has a path in it, only names beside the index are opened")
	case !filepath.IsLocal(name) || strings.HasSuffix(name, ".json"):
		return errors.New("is not the name of a file here")
	}
	return nil
}
