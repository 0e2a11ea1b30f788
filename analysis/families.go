package analysis

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spdfctl/spdfctl/train/gpt"
)

// shapePreset is a published shape beyond GPT-2, and how many parameters its
// authors say it has.
type shapePreset struct {
	name      string
	published int64
	shape     Shape
}

// shapePresets holds shapes that this program prices and converts, but does
// not train.
//
// Sources: the configurations released with each model; the counts are those
// of the released weights (Llama, Mistral, Mixtral) and of the model cards
// (GPT-NeoX, Pythia).
var shapePresets = []shapePreset{
	neox("pythia-70m", 70_426_624, 50304, 2048, 512, 6, 8),
	neox("pythia-160m", 162_322_944, 50304, 2048, 768, 12, 12),
	neox("pythia-410m", 405_334_016, 50304, 2048, 1024, 24, 16),
	neox("pythia-1b", 1_011_781_632, 50304, 2048, 2048, 16, 8),
	neox("pythia-1.4b", 1_414_647_808, 50304, 2048, 2048, 24, 16),
	neox("pythia-2.8b", 2_775_208_960, 50304, 2048, 2560, 32, 32),
	neox("pythia-6.9b", 6_857_302_016, 50432, 2048, 4096, 32, 32),
	neox("pythia-12b", 11_846_072_320, 50688, 2048, 5120, 36, 40),
	neox("gpt-neox-20b", 20_554_567_680, 50432, 2048, 6144, 44, 64),

	llama("llama-2-7b", 6_738_415_616, 32000, 4096, 4096, 32, 32, 32, 11008),
	llama("llama-2-13b", 13_015_864_320, 32000, 4096, 5120, 40, 40, 40, 13824),
	llama("llama-2-70b", 68_976_648_192, 32000, 4096, 8192, 80, 64, 8, 28672),
	llama("llama-3-8b", 8_030_261_248, 128256, 8192, 4096, 32, 32, 8, 14336),
	llama("llama-3-70b", 70_553_706_496, 128256, 8192, 8192, 80, 64, 8, 28672),
	llama("llama-3.1-405b", 405_853_388_800, 128256, 131072, 16384, 126, 128, 8, 53248),
	llama("mistral-7b", 7_241_732_096, 32000, 32768, 4096, 32, 32, 8, 14336),

	mixtral("mixtral-8x7b", 46_702_792_704, 32000, 32768, 4096, 32, 32, 8, 14336),
	mixtral("mixtral-8x22b", 140_620_634_112, 32000, 65536, 6144, 56, 48, 8, 16384),
}

func neox(name string, published int64, vocab, ctx, width, layers, heads int) shapePreset {
	return shapePreset{name, published, Shape{
		Family: FamilyNeoX, VocabSize: vocab, NCtx: ctx, NEmbd: width, NLayer: layers,
		NHead: heads, NKVHead: heads, HeadSize: width / heads, NInner: 4 * width, Biases: true, NormBiases: true,
	}}
}

func llama(name string, published int64, vocab, ctx, width, layers, heads, kv, inner int) shapePreset {
	return shapePreset{name, published, Shape{
		Family: FamilyLlama, VocabSize: vocab, NCtx: ctx, NEmbd: width, NLayer: layers,
		NHead: heads, NKVHead: kv, HeadSize: width / heads, NInner: inner, GatedMLP: true,
	}}
}

// mixtral has 8 experts, 2 of which work on a token.
func mixtral(name string, published int64, vocab, ctx, width, layers, heads, kv, inner int) shapePreset {
	p := llama(name, published, vocab, ctx, width, layers, heads, kv, inner)
	p.shape.Family, p.shape.Experts, p.shape.ExpertsPerToken = FamilyMixtral, 8, 2
	return p
}

// ShapePresetNames lists the presets that can be priced, those of package gpt
// first.
func ShapePresetNames() []string {
	names := gpt.PresetNames()
	for _, p := range shapePresets {
		names = append(names, p.name)
	}
	return names
}

// PublishedParameters returns the exact number of parameters that the authors
// of a preset of another family than GPT-2 give, and whether there is one.
func PublishedParameters(name string) (int64, bool) {
	for _, p := range shapePresets {
		if p.name == name {
			return p.published, true
		}
	}
	return 0, false
}

// maxConfigBytes bounds a config.json; real ones have a few kilobytes.
const maxConfigBytes = 1 << 20

// ResolveShape returns the shape that a model argument stands for: a preset, a
// config.json, a checkpoint file or directory with config.json, or a run
// directory. A preset wins over a path of the same spelling. It returns
// *gpt.UnknownModelError if model is neither.
func ResolveShape(model string) (Shape, error) {
	name := strings.ToLower(model)
	for _, p := range shapePresets {
		if p.name == name {
			return p.shape, nil
		}
	}
	if c, ok := gpt.Preset(model); ok {
		return ShapeOf(c), nil
	}
	info, err := os.Stat(model)
	if err != nil {
		// It explains what is near.
		c, err := gpt.ResolveConfig(model)
		return ShapeOf(c), err
	}
	file := model
	if info.IsDir() {
		dir, err := gpt.CheckpointDir(model)
		if err != nil {
			return Shape{}, err
		}
		file = filepath.Join(dir, gpt.ConfigFile)
	} else if filepath.Ext(model) != ".json" || strings.HasSuffix(model, ".index.json") {
		file = filepath.Join(filepath.Dir(model), gpt.ConfigFile)
	}
	f, err := os.Open(file)
	if err != nil {
		return Shape{}, fmt.Errorf("analysis: model %q: %w", model, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return Shape{}, fmt.Errorf("analysis: model %q: %w", model, err)
	}
	if len(data) > maxConfigBytes {
		return Shape{}, fmt.Errorf("analysis: model %q: config.json has more than %d bytes, the limit", model, maxConfigBytes)
	}
	s, err := ParseShape(data)
	if err != nil {
		return Shape{}, fmt.Errorf("analysis: model %q: %w", model, err)
	}
	return s, nil
}

// otherConfig is config.json of the families beyond GPT-2. A field that is not
// there is nil, because some have defaults other than zero.
type otherConfig struct {
	ModelType    string `json:"model_type"`
	VocabSize    int    `json:"vocab_size"`
	Hidden       int    `json:"hidden_size"`
	Layers       int    `json:"num_hidden_layers"`
	Heads        int    `json:"num_attention_heads"`
	KVHeads      *int   `json:"num_key_value_heads"`
	HeadDim      *int   `json:"head_dim"`
	Intermediate int    `json:"intermediate_size"`
	Positions    int    `json:"max_position_embeddings"`
	Tied         bool   `json:"tie_word_embeddings"`
	AttnBias     *bool  `json:"attention_bias"`
	MLPBias      bool   `json:"mlp_bias"`
	Experts      int    `json:"num_local_experts"`
	PerToken     int    `json:"num_experts_per_tok"`
}

// ParseShape reads a Hugging Face config.json of a family that the ledger
// knows: gpt2, gpt_neox, llama, mistral or mixtral.
func ParseShape(data []byte) (Shape, error) {
	var f otherConfig
	if err := json.Unmarshal(data, &f); err != nil {
		return Shape{}, fmt.Errorf("config.json: %w", err)
	}
	s := Shape{
		VocabSize: f.VocabSize, NCtx: f.Positions, NEmbd: f.Hidden, NLayer: f.Layers, NHead: f.Heads, NKVHead: f.Heads,
		NInner: f.Intermediate, TiedHead: f.Tied,
	}
	switch f.ModelType {
	case "", FamilyGPT2:
		c, err := gpt.ParseConfig(data)
		if err != nil {
			return Shape{}, err
		}
		return ShapeOf(c), nil
	case FamilyNeoX:
		s.Family, s.Biases, s.NormBiases = FamilyNeoX, true, true
		if f.AttnBias != nil && !*f.AttnBias {
			return Shape{}, errors.New("config.json: attention_bias is false, only true is supported for gpt_neox")
		}
	case FamilyLlama, "mistral", FamilyMixtral:
		s.Family, s.GatedMLP = FamilyLlama, true
		if f.MLPBias || f.AttnBias != nil && *f.AttnBias {
			return Shape{}, fmt.Errorf("config.json: attention_bias or mlp_bias is true, only false is supported for %s", f.ModelType)
		}
		if f.KVHeads != nil {
			s.NKVHead = *f.KVHeads
		}
		if f.ModelType == FamilyMixtral {
			s.Family, s.Experts, s.ExpertsPerToken = FamilyMixtral, f.Experts, f.PerToken
			if s.Experts < 1 {
				return Shape{}, fmt.Errorf("config.json: num_local_experts is %d, a mixtral has at least 1", s.Experts)
			}
		}
	default:
		return Shape{}, fmt.Errorf("config.json: model_type is %q, only gpt2, gpt_neox, llama, mistral and mixtral are supported", f.ModelType)
	}
	switch {
	case f.HeadDim != nil:
		s.HeadSize = *f.HeadDim
	case f.Heads > 0 && f.Hidden%f.Heads == 0:
		s.HeadSize = f.Hidden / f.Heads
	case f.Heads > 0:
		return Shape{}, fmt.Errorf("config.json: hidden_size %d is not a multiple of num_attention_heads %d", f.Hidden, f.Heads)
	}
	return s, s.Validate()
}
