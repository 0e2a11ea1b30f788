package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spdfctl/spdfctl/formats/maskfile"
)

// besides are the files of a model directory that go with the weights.
var besides = []string{
	"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
	"special_tokens_map.json", "tokenizer.model",
}

// MasksFile is the name of the masks in a directory.
const MasksFile = "masks.safetensors"

// writeBesides puts beside the weights what belongs to a model directory: the
// configuration and the tokenizer that lie beside the source, a configuration
// made of what is known if there is none, and the masks.
func (p *Plan) writeBesides(dir string) error {
	if p.Masks != nil {
		if err := maskfile.Write(filepath.Join(dir, MasksFile), false, p.Masks); err != nil {
			return err
		}
	}
	if p.Options.To != SafeTensors && p.Options.To != TorchZip || p.nested {
		return nil
	}
	from := filepath.Dir(p.Source.Path)
	haveConfig, haveTokenizer := false, false
	for _, name := range besides {
		text, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("convert: %w", err)
		}
		haveTokenizer = haveTokenizer || strings.HasPrefix(name, "tokenizer") || name == "vocab.json"
		if name == "config.json" {
			haveConfig = true
			if text, err = p.adaptConfig(text); err != nil {
				return fmt.Errorf("convert: %s: %w", filepath.Join(from, name), err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o666); err != nil {
			return err
		}
	}
	if p.tokenizer != nil && !haveTokenizer {
		if err := p.tokenizer.Save(dir); err != nil {
			return err
		}
	}
	if haveConfig || p.Layout != "hf" || p.model == nil || p.Source.Config.NHead == 0 {
		return nil
	}
	config := p.newConfig()
	if p.Options.Sparse {
		config["quantization_config"] = p.sparsityConfig()
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), append(text, '\n'), 0o666)
}

// adaptConfig changes the size of the vocabulary and what is said of sparsity, if
// the plan does.
func (p *Plan) adaptConfig(text []byte) ([]byte, error) {
	if p.Options.Vocab == 0 && !p.Options.Sparse && len(p.Source.Packed) == 0 {
		return text, nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	if p.Options.Vocab > 0 {
		all["vocab_size"] = json.RawMessage(fmt.Sprint(p.vocab))
	}
	if err := p.adaptSparsity(all); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(all, "", "  ")
	return append(text, '\n'), err
}

// newConfig returns a config.json as transformers wants it. The ids of the
// special tokens are not known; for GPT-2's vocabulary they are its last one.
func (p *Plan) newConfig() map[string]any {
	c, d := p.Source.Config, p.target
	if p.model.family == gpt2 {
		config := map[string]any{
			"architectures": []string{"GPT2LMHeadModel"}, "model_type": "gpt2", "activation_function": "gelu_new",
			"n_layer": d.L, "n_head": c.NHead, "n_embd": d.C, "n_positions": d.T, "n_ctx": d.T, "vocab_size": p.vocab,
			"layer_norm_epsilon": c.NormEps, "tie_word_embeddings": p.model.tied,
		}
		if d.I != 4*d.C {
			config["n_inner"] = d.I
		}
		if c.Activation != "" {
			config["activation_function"] = c.Activation
		}
		if c.NormEps == 0 {
			config["layer_norm_epsilon"] = 1e-5
		}
		const last = 50256
		if p.vocab > last {
			config["bos_token_id"], config["eos_token_id"] = last, last
		}
		return config
	}
	config := map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": p.model.family.arch, "hidden_act": "silu",
		"num_hidden_layers": d.L, "num_attention_heads": d.N, "num_key_value_heads": d.M, "hidden_size": d.C, "intermediate_size": d.I,
		"vocab_size": p.vocab, "head_dim": d.Q / d.N, "tie_word_embeddings": p.model.tied,
	}
	if p.model.family == qwen2 {
		config["architectures"] = []string{"Qwen2ForCausalLM"}
	}
	if c.NCtx > 0 {
		config["max_position_embeddings"] = c.NCtx
	}
	if c.NormEps > 0 {
		config["rms_norm_eps"] = c.NormEps
	}
	if c.RopeTheta > 0 {
		config["rope_theta"] = c.RopeTheta
	}
	return config
}
