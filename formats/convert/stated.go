package convert

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/masks"
)

// sparsityHomes are the places of a config.json where compressed-tensors says
// how sparse a checkpoint is, the newest first.
//
// Source: vllm-project/compressed-tensors, base.py and
// compressors/model_compressors/model_compressor.py, parse_sparsity_config;
// transformers, utils/quantization_config.py, CompressedTensorsConfig.
type sparsityHomes struct {
	Quantization json.RawMessage `json:"quantization_config"`
	Compression  json.RawMessage `json:"compression_config"`
	TopLevel     json.RawMessage `json:"sparsity_config"`
}

// statedTolerance is how far global_sparsity may lie outside what the matrices
// allow: it is often rounded to two digits, and who counts zeros finds some in
// dense tensors too.
const statedTolerance = 0.02

// checkStated compares global_sparsity, wherever config.json has it, as a
// fraction or in percent, with the masks of a model of so many parameters.
// Writers differ in what they count: all parameters, or those that are
// sparsified, or something between.
func (c *Checkpoint) checkStated(list []*masks.Mask, parameters int) error {
	pruned, total := 0, 0
	for _, m := range list {
		pruned += m.Total() - m.Kept()
		total += m.Total()
	}
	low, high := float64(pruned)/float64(max(parameters, total)), float64(pruned)/float64(total)
	for _, home := range []struct {
		name string
		text json.RawMessage
		top  bool
	}{
		{"quantization_config.sparsity_config", c.stated.Quantization, false},
		{"compression_config.sparsity_config", c.stated.Compression, false},
		{"sparsity_config", c.stated.TopLevel, true},
	} {
		if home.text == nil {
			continue
		}
		text := home.text
		if !home.top {
			var outer struct {
				Sparsity json.RawMessage `json:"sparsity_config"`
			}
			if err := json.Unmarshal(text, &outer); err != nil {
				return fmt.Errorf("config.json: %s: %w", home.name, err)
			}
			if text = outer.Sparsity; text == nil {
				continue
			}
		}
		var config struct {
			Global *float64 `json:"global_sparsity"`
		}
		if err := json.Unmarshal(text, &config); err != nil {
			return fmt.Errorf("config.json: %s: %w", home.name, err)
		}
		if config.Global == nil {
			continue
		}
		s := *config.Global
		if s < 0 || s > 100 {
			return fmt.Errorf("config.json: %s: global_sparsity is %g, neither a fraction nor percent", home.name, s)
		}
		if s > 1 {
			s /= 100
		}
		if math.Max(low-s, s-high) > statedTolerance {
			return fmt.Errorf("config.json: %s: global_sparsity is %g, the bitmasks prune %.4g of their matrices and %.4g of all parameters", home.name, *config.Global, high, low)
		}
	}
	return nil
}
