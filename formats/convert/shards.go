package convert

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/formats/stored"
)

// writeSafeTensors writes a file of safetensors. Its package counts what the
// tensors write, so there is no need for Emit.
func writeSafeTensors(to io.Writer, tensors []stored.Tensor, metadata map[string]string) error {
	list := make([]safetensors.Tensor, len(tensors))
	for i, t := range tensors {
		list[i] = safetensors.Tensor{Info: t.Info, WriteTo: t.WriteTo}
	}
	return safetensors.Write(to, list, metadata)
}

// textMetadata returns the metadata of a safetensors file with some outputs. What
// is of the whole checkpoint goes into the first shard.
func (p *Plan) textMetadata(outputs []Output, first bool) (map[string]string, error) {
	metadata := maps.Clone(defaultMetadata)
	if p.Source.textKnown {
		metadata = maps.Clone(p.Source.text)
	}
	set := func(key, value string) {
		if metadata == nil {
			metadata = make(map[string]string)
		}
		metadata[key] = value
	}
	for _, o := range outputs {
		for _, name := range o.Aliases {
			set(name, o.Name)
		}
	}
	if p.originalEntries() && first {
		text, err := encodeEntries(p.Source.entries)
		if err != nil {
			return nil, fmt.Errorf("convert: metadata of GGUF: %w", err)
		}
		set(ggufKey, text)
	}
	s := side{Unprefixed: p.unprefixed(), Narrow: p.narrowed(), Config: p.carriedConfig()}
	text, err := s.encode()
	if err != nil {
		return nil, err
	}
	if text != nil && first {
		set(sideMetadataKey, string(text))
	}
	return metadata, nil
}

// writeShards writes safetensors files of at most ShardSize bytes of data, a
// tensor never being split, and the index. Tensors go into them in the order of
// their names.
func (p *Plan) writeShards(w *watch, dir string) error {
	var shards [][]Output
	size := int64(0)
	for _, o := range p.Outputs {
		if len(shards) == 0 || size+p.packedBytes(o) > p.Options.ShardSize && size > 0 {
			shards = append(shards, nil)
			size = 0
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], o)
		size += p.packedBytes(o)
	}
	index := struct {
		Metadata  map[string]int64  `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}{map[string]int64{"total_size": p.StoredBytes()}, make(map[string]string)}
	for i, outputs := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		var tensors []stored.Tensor
		for _, o := range outputs {
			for _, t := range p.packed(o) {
				tensors = append(tensors, watched(t, w))
				index.WeightMap[t.Name] = name
			}
		}
		metadata, err := p.textMetadata(outputs, i == 0)
		if err != nil {
			return err
		}
		if err := formats.WriteAtomic(filepath.Join(dir, name), false, func(to io.Writer) error {
			return writeSafeTensors(to, tensors, metadata)
		}); err != nil {
			return err
		}
	}
	if err := p.Source.Unchanged(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, indexFile), append(text, '\n'), 0o666)
}
