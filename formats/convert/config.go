package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Config is what is known of a model beside its tensors; 0 and "" are unknown.
// It comes from config.json, the metadata of GGUF, the header of llm.c, or the
// settings in a nanoGPT checkpoint.
type Config struct {
	Arch      string  `json:"arch,omitempty"` // "gpt2", "llama", "qwen2"
	NLayer    int     `json:"n_layer,omitempty"`
	NHead     int     `json:"n_head,omitempty"`
	NKVHead   int     `json:"n_kv_head,omitempty"`
	NEmbd     int     `json:"n_embd,omitempty"`
	NInner    int     `json:"n_inner,omitempty"`
	NCtx      int     `json:"n_ctx,omitempty"`
	VocabSize int     `json:"vocab_size,omitempty"`
	HeadDim   int     `json:"head_dim,omitempty"`
	NormEps   float64 `json:"norm_eps,omitempty"`
	RopeTheta float64 `json:"rope_theta,omitempty"`
	// Activation is what config.json calls that of the MLP.
	Activation string `json:"activation,omitempty"`
}

// maxConfig bounds a config.json; real ones have a few kilobytes.
const maxConfig = 1 << 20

// readConfig fills in Config from what lies beside the weights and from what is
// in them.
func (c *Checkpoint) readConfig(dir string) error {
	switch {
	case c.Format == LLMC:
		return nil
	case c.entries != nil && c.Format == GGUF:
		c.configFromGGUF()
		return nil
	}
	if c.ownConfig || c.configFromLeaves() {
		return nil
	}
	path := filepath.Join(dir, "config.json")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if c.entries != nil {
			c.configFromGGUF()
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	if info.Size() > maxConfig {
		return fmt.Errorf("convert: %s: %d bytes, limit %d", path, info.Size(), maxConfig)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	if err := c.configFromJSON(text); err != nil {
		return fmt.Errorf("convert: %s: %w", path, err)
	}
	return nil
}

// configFromJSON reads the keys of transformers, GPT-2's and the others'.
func (c *Checkpoint) configFromJSON(text []byte) error {
	var j struct {
		ModelType string  `json:"model_type"`
		NLayer    int     `json:"n_layer"`
		NHead     int     `json:"n_head"`
		NEmbd     int     `json:"n_embd"`
		NInner    int     `json:"n_inner"`
		NPos      int     `json:"n_positions"`
		NCtx      int     `json:"n_ctx"`
		VocabSize int     `json:"vocab_size"`
		LNEps     float64 `json:"layer_norm_epsilon"`

		Layers    int     `json:"num_hidden_layers"`
		Heads     int     `json:"num_attention_heads"`
		KVHeads   int     `json:"num_key_value_heads"`
		Hidden    int     `json:"hidden_size"`
		Inner     int     `json:"intermediate_size"`
		MaxPos    int     `json:"max_position_embeddings"`
		HeadDim   int     `json:"head_dim"`
		RMSEps    float64 `json:"rms_norm_eps"`
		RopeTheta float64 `json:"rope_theta"`

		Activation string `json:"activation_function"`
		sparsityHomes
	}
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	c.stated = j.sparsityHomes
	or := func(list ...int) int {
		for _, v := range list {
			if v != 0 {
				return v
			}
		}
		return 0
	}
	c.Config = Config{
		Arch: strings.ToLower(j.ModelType), NLayer: or(j.NLayer, j.Layers), NHead: or(j.NHead, j.Heads), NKVHead: j.KVHeads,
		NEmbd: or(j.NEmbd, j.Hidden), NInner: or(j.NInner, j.Inner), NCtx: or(j.NPos, j.NCtx, j.MaxPos), VocabSize: j.VocabSize,
		HeadDim: j.HeadDim, NormEps: j.LNEps + j.RMSEps, RopeTheta: j.RopeTheta, Activation: j.Activation,
	}
	if c.Config.Arch == "mistral" {
		c.Config.Arch = "llama" // the same tensors and the same order of q and k
	}
	return nil
}

// unknownArch is what a GGUF file says whose architecture is not known.
const unknownArch = "unknown"

// configFromGGUF reads the keys that llama.cpp writes.
func (c *Checkpoint) configFromGGUF() {
	values := make(map[string]any)
	for _, e := range c.entries {
		values[e.Key] = e.Value
	}
	arch, _ := values["general.architecture"].(string)
	if arch == unknownArch {
		return
	}
	number := func(key string) int {
		switch v := values[arch+"."+key].(type) {
		case uint64:
			if v <= math.MaxInt32 {
				return int(v)
			}
		case int64:
			if v >= 0 && v <= math.MaxInt32 {
				return int(v)
			}
		}
		return 0
	}
	float := func(keys ...string) float64 {
		for _, key := range keys {
			if v, ok := values[arch+"."+key].(float64); ok {
				// The file has 32 bits of it: 1e-05, not 9.999999747378752e-06.
				if short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', -1, 32), 64); err == nil {
					return short
				}
				return v
			}
		}
		return 0
	}
	c.Config = Config{
		Arch: arch, NLayer: number("block_count"), NHead: number("attention.head_count"), NKVHead: number("attention.head_count_kv"),
		NEmbd: number("embedding_length"), NInner: number("feed_forward_length"), NCtx: number("context_length"),
		VocabSize: number("vocab_size"), HeadDim: number("attention.key_length"),
		NormEps: float("attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon"), RopeTheta: float("rope.freq_base"),
	}
}

// configFromLeaves reads the settings that nanoGPT keeps under model_args.
func (c *Checkpoint) configFromLeaves() bool {
	values := make(map[string]int)
	for _, l := range c.Leaves {
		if key, ok := strings.CutPrefix(l.Name, "model_args."); ok {
			if v, ok := l.value.(int64); ok && v > 0 && v <= math.MaxInt32 {
				values[key] = int(v)
			}
		}
	}
	if values["n_head"] == 0 || values["n_embd"] == 0 {
		return false
	}
	c.Config = Config{
		Arch: "gpt2", NLayer: values["n_layer"], NHead: values["n_head"], NEmbd: values["n_embd"],
		NCtx: values["block_size"], VocabSize: values["vocab_size"], NormEps: 1e-5,
	}
	c.ownConfig = true
	return true
}
