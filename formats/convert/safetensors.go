package convert

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/formats/stored"
)

// openSafeTensors opens a file or an index. The headers are read and checked by
// package safetensors; where the tensors lie follows from their order, since
// they cover the data without gaps.
func (c *Checkpoint) openSafeTensors(path string) error {
	f, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	c.Format = SafeTensors
	c.Metadata = f.Metadata()
	if err := f.Close(); err != nil {
		return err
	}
	shards := []string{path}
	if filepath.Ext(path) == ".json" {
		if shards, err = shardsOf(path); err != nil {
			return err
		}
	}
	for _, shard := range shards {
		if err := c.addShard(shard); err != nil {
			return err
		}
	}
	if err := c.expandPacked(); err != nil {
		return err
	}
	return c.readTextMetadata()
}

// shardsOf returns the files that an index names, which has been checked.
func shardsOf(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("convert: %w", err)
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("convert: %s: %w", path, err)
	}
	names := make(map[string]struct{})
	for _, shard := range index.WeightMap {
		names[shard] = struct{}{}
	}
	shards := slices.Sorted(maps.Keys(names))
	for i, name := range shards {
		shards[i] = filepath.Join(filepath.Dir(path), name)
	}
	return shards, nil
}

func (c *Checkpoint) addShard(path string) error {
	f, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	infos := f.Infos()
	if err := f.Close(); err != nil {
		return err
	}
	source, err := stored.Open(path)
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	c.own(source.Close, []*stored.File{source})
	var length [8]byte
	if err := source.ReadFull(length[:], 0); err != nil {
		return fmt.Errorf("convert: %s: %w", path, err)
	}
	at := int64(len(length)) + int64(binary.LittleEndian.Uint64(length[:]))
	for _, info := range infos {
		t, err := stored.InFile(source, info, at)
		if err != nil {
			return fmt.Errorf("convert: %s: %w", path, err)
		}
		c.Tensors = append(c.Tensors, t)
		at += t.Bytes
	}
	if at != source.Size() {
		return fmt.Errorf("convert: %s: tensors end at byte %d, the file has %d", path, at, source.Size())
	}
	return nil
}

// readTextMetadata takes apart the metadata: aliases as
// safetensors.torch.save_model notes them, a name that is not stored to one
// that is; what a conversion has left there; and the rest, which is the file's
// own.
func (c *Checkpoint) readTextMetadata() error {
	have := make(map[string]bool)
	for _, t := range c.Tensors {
		have[t.Name] = true
	}
	groups := make(map[string][]string)
	var sideText string
	if c.Metadata != nil && len(c.Metadata) == 0 {
		c.text = map[string]string{}
	}
	for _, key := range slices.Sorted(maps.Keys(c.Metadata)) {
		value := c.Metadata[key]
		switch {
		case key == sideMetadataKey:
			sideText = value
			delete(c.Metadata, key)
		case key == ggufKey:
			entries, err := decodeEntries([]byte(value))
			if err != nil {
				return fmt.Errorf("convert: %s: metadata %q: %w", c.Path, ggufKey, err)
			}
			c.entries = entries
			delete(c.Metadata, key)
		case !have[key] && have[value]:
			groups[value] = append(groups[value], key)
		default:
			if c.text == nil {
				c.text = make(map[string]string)
			}
			c.text[key] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		c.Aliases = append(c.Aliases, append([]string{name}, groups[name]...))
	}
	// The default need not be carried: whoever writes safetensors writes it.
	c.textKnown = !maps.Equal(c.text, defaultMetadata)
	return c.applySide([]byte(sideText))
}

// defaultMetadata is what transformers wants to see.
var defaultMetadata = map[string]string{"format": "pt"}
