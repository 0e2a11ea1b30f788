package safetensors

import (
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// maxIndexDepth bounds the nesting of an index. Its own part needs 2; metadata
// are free-form.
const maxIndexDepth = 16

// openIndex opens an index and every shard that it names, in the order of their
// names: each tensor in exactly the shard that weight_map gives.
func (f *File) openIndex(path string) error {
	weights, err := readIndex(path)
	if err != nil {
		return err
	}
	shards := make(map[string]struct{})
	for _, shard := range weights {
		shards[shard] = struct{}{}
	}
	var headers []*header
	dir := filepath.Dir(path)
	for _, shard := range slices.Sorted(maps.Keys(shards)) {
		h, err := f.add(filepath.Join(dir, shard))
		if err != nil {
			return err
		}
		headers = append(headers, h)
		for _, e := range h.entries {
			switch named, ok := weights[e.Name]; {
			case !ok:
				return inFile(path, malformed(e.Name, "is in %s, not in weight_map", shard))
			case named != shard:
				return inFile(path, malformed(e.Name, "is in %s, weight_map says %s", shard, named))
			}
		}
	}
	for _, tensor := range slices.Sorted(maps.Keys(weights)) {
		if _, ok := f.tensors[tensor]; !ok {
			return inFile(path, malformed(tensor, "is not in %s, where weight_map has it", weights[tensor]))
		}
	}
	f.metadata = agreed(headers)
	return nil
}

// readIndex returns the weight_map, the shard of each tensor.
func readIndex(path string) (map[string]string, error) {
	s, err := openSource(path)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if s.size > maxHeader {
		return nil, inFile(path, malformed("", "index is %d bytes, limit %d", s.size, maxHeader))
	}
	text := make([]byte, s.size)
	if err := s.read(text, 0); err != nil {
		return nil, inFile(path, err)
	}
	weights, err := parseIndex(text)
	if err != nil {
		return nil, inFile(path, err)
	}
	return weights, nil
}

// parseIndex returns the weight_map of an index whose shards all have plain names.
func parseIndex(text []byte) (map[string]string, error) {
	g := &guard{text: text, maxDepth: maxIndexDepth, maxMembers: maxTensors, maxItems: maxTensors}
	if err := g.run(); err != nil {
		return nil, err
	}
	// A map, because encoding/json matches the names of fields in any case.
	var index map[string]json.RawMessage
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, malformed("", "%s", shorten(err.Error()))
	}
	raw, ok := index["weight_map"]
	if !ok {
		return nil, malformed("", "index has no weight_map")
	}
	var weights map[string]string
	if err := json.Unmarshal(raw, &weights); err != nil {
		return nil, malformed("", "weight_map: %s", shorten(err.Error()))
	}
	if len(weights) == 0 {
		return nil, malformed("", "weight_map is empty")
	}
	for _, tensor := range slices.Sorted(maps.Keys(weights)) {
		if err := checkShardName(weights[tensor]); err != nil {
			return nil, malformed(tensor, "shard %q: %w", shorten(weights[tensor]), err)
		}
	}
	return weights, nil
}

// checkShardName accepts only a plain name, on any system, of a file beside the
// index. (The file may be a link: the cache of the Hugging Face hub is made of
// them.)
func checkShardName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return errors.New("is not the name of a file")
	case strings.ContainsAny(name, "/\\:\x00"):
		return errors.New("has a path in it, only names beside the index are opened")
	case !filepath.IsLocal(name):
		return errors.New("is not the name of a file here")
	}
	return nil
}

// agreed returns the entries on which all headers that have them agree.
func agreed(headers []*header) map[string]string {
	var all map[string]string
	conflict := make(map[string]bool)
	for _, h := range headers {
		for key, value := range h.metadata {
			if all == nil {
				all = make(map[string]string)
			}
			if old, ok := all[key]; ok && old != value {
				conflict[key] = true
			}
			all[key] = value
		}
	}
	for key := range conflict {
		delete(all, key)
	}
	return all
}
