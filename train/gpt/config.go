// Package gpt is the GPT-2 architecture: its configuration, its parameters,
// dense or as kept weights only, and its forward and backward passes.
//
// It follows Hugging Face's GPT2LMHeadModel: pre-LayerNorm blocks, learned
// positions, tanh-GELU, tied head, fused query/key/value weights stored as
// Conv1D, which is (in, out).
package gpt

import (
	"encoding/json"
	"fmt"
)

// Config describes a GPT-2 model with the keys of Hugging Face's config.json.
type Config struct {
	VocabSize int `json:"vocab_size"`  // V
	NCtx      int `json:"n_positions"` // longest sequence T
	NEmbd     int `json:"n_embd"`      // C
	NLayer    int `json:"n_layer"`     // L
	NHead     int `json:"n_head"`      // NH
	NInner    int `json:"n_inner"`     // width of the MLP; 0 means 4*C

	LayerNormEps     float64 `json:"layer_norm_epsilon"`
	InitializerRange float64 `json:"initializer_range"`
}

// Defaults of Hugging Face's GPT2Config.
const (
	defaultLayerNormEps     = 1e-5
	defaultInitializerRange = 0.02
)

// Limits that keep a config.json from asking for absurd memory.
const (
	maxDim    = 1 << 20
	maxLayers = 1 << 12
)

// Inner returns the width of the MLP.
func (c Config) Inner() int {
	if c.NInner > 0 {
		return c.NInner
	}
	return 4 * c.NEmbd
}

// HeadSize returns HS = C / NH.
func (c Config) HeadSize() int { return c.NEmbd / c.NHead }

// WithDefaults returns c with the unset fields as in Hugging Face's GPT2Config.
func (c Config) WithDefaults() Config {
	if c.LayerNormEps == 0 {
		c.LayerNormEps = defaultLayerNormEps
	}
	if c.InitializerRange == 0 {
		c.InitializerRange = defaultInitializerRange
	}
	return c
}

// Validate reports the first field that no GPT-2 can have.
func (c Config) Validate() error {
	for _, f := range []struct {
		key        string
		value, max int
	}{
		{"vocab_size", c.VocabSize, 1 << 24},
		{"n_positions", c.NCtx, 1 << 24},
		{"n_embd", c.NEmbd, maxDim},
		{"n_layer", c.NLayer, maxLayers},
		{"n_head", c.NHead, maxDim},
	} {
		if f.value < 1 || f.value > f.max {
			return fmt.Errorf("gpt: config: %s is %d, outside 1 to %d", f.key, f.value, f.max)
		}
	}
	if c.NInner < 0 || c.NInner > maxDim {
		return fmt.Errorf("gpt: config: n_inner is %d, outside 0 to %d", c.NInner, maxDim)
	}
	if c.NEmbd%c.NHead != 0 {
		return fmt.Errorf("gpt: config: n_embd %d is not a multiple of n_head %d", c.NEmbd, c.NHead)
	}
	if !(c.LayerNormEps > 0 && c.LayerNormEps < 1) {
		return fmt.Errorf("gpt: config: layer_norm_epsilon is %g, outside (0, 1)", c.LayerNormEps)
	}
	if !(c.InitializerRange > 0 && c.InitializerRange < 10) {
		return fmt.Errorf("gpt: config: initializer_range is %g, outside (0, 10)", c.InitializerRange)
	}
	return nil
}

// configFile is config.json as Hugging Face writes it, with the keys that
// change the mathematics; a value this package cannot honour is refused.
type configFile struct {
	Config
	NCtxOld    int      `json:"n_ctx"`
	ModelType  string   `json:"model_type"`
	Archs      []string `json:"architectures"`
	Activation string   `json:"activation_function"`
	Tie        *bool    `json:"tie_word_embeddings"`

	ScaleAttnWeights    *bool `json:"scale_attn_weights"`
	ScaleByInverseLayer bool  `json:"scale_attn_by_inverse_layer_idx"`
	ReorderAndUpcast    bool  `json:"reorder_and_upcast_attn"`
	AddCrossAttention   bool  `json:"add_cross_attention"`
	NInnerOrNull        *int  `json:"n_inner"`
}

// ParseConfig reads a Hugging Face GPT-2 config.json. It refuses another
// model type and every switch that would change the function computed.
func ParseConfig(data []byte) (Config, error) {
	var f configFile
	if err := json.Unmarshal(data, &f); err != nil {
		return Config{}, fmt.Errorf("gpt: config.json: %w", err)
	}
	c := f.Config
	if f.NInnerOrNull != nil {
		c.NInner = *f.NInnerOrNull
	}
	if c.NCtx == 0 {
		c.NCtx = f.NCtxOld
	}
	switch {
	case f.ModelType != "gpt2" && f.ModelType != "":
		return Config{}, fmt.Errorf("gpt: config.json: model_type is %q, only \"gpt2\" is supported", f.ModelType)
	case f.Activation != "" && f.Activation != "gelu_new" && f.Activation != "gelu_pytorch_tanh":
		return Config{}, fmt.Errorf("gpt: config.json: activation_function is %q, only \"gelu_new\" is supported", f.Activation)
	case f.Tie != nil && !*f.Tie:
		return Config{}, fmt.Errorf("gpt: config.json: tie_word_embeddings is false, only a tied head is supported")
	case f.ScaleAttnWeights != nil && !*f.ScaleAttnWeights:
		return Config{}, fmt.Errorf("gpt: config.json: scale_attn_weights is false, only true is supported")
	case f.ScaleByInverseLayer:
		return Config{}, fmt.Errorf("gpt: config.json: scale_attn_by_inverse_layer_idx is true, only false is supported")
	case f.AddCrossAttention:
		return Config{}, fmt.Errorf("gpt: config.json: add_cross_attention is true, only false is supported")
	}
	c = c.WithDefaults()
	return c, c.Validate()
}

// MarshalHF returns c as the config.json that transformers loads as a
// GPT2LMHeadModel. eos is the id of the end-of-text token, -1 if there is none.
func (c Config) MarshalHF(eos int) ([]byte, error) {
	var inner, end any // null: 4*C; none
	if c.NInner > 0 {
		inner = c.NInner
	}
	if eos >= 0 {
		end = eos
	}
	return json.MarshalIndent(map[string]any{
		"activation_function": "gelu_new",
		"architectures":       []string{"GPT2LMHeadModel"},
		"attn_pdrop":          0.0,
		"bos_token_id":        end,
		"embd_pdrop":          0.0,
		"eos_token_id":        end,
		"initializer_range":   c.InitializerRange,
		"layer_norm_epsilon":  c.LayerNormEps,
		"model_type":          "gpt2",
		"n_ctx":               c.NCtx,
		"n_embd":              c.NEmbd,
		"n_head":              c.NHead,
		"n_inner":             inner,
		"n_layer":             c.NLayer,
		"n_positions":         c.NCtx,
		"resid_pdrop":         0.0,
		"tie_word_embeddings": true,
		"torch_dtype":         "float32",
		"vocab_size":          c.VocabSize,
	}, "", "  ")
}
