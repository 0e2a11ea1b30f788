package gpt_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/train/gpt"
)

func mustPreset(t *testing.T, name string) gpt.Config {
	t.Helper()
	c, ok := gpt.Preset(name)
	if !ok {
		t.Fatalf("Preset(%q): not found", name)
	}
	return c
}

func TestPresetParams(t *testing.T) {
	// The published counts: gpt2* are the sizes of the released checkpoints, the
	// SPDF rows follow from the paper's Table 1 with GPT-2's vocabulary and a
	// tied head. Where only a rounded figure is printed, unit is its last digit.
	for _, tc := range []struct {
		name    string
		total   int64
		weights int64 // 0: not published
		unit    int64
	}{
		{"gpt2", 124439808, 84934656, 1},
		{"gpt2-medium", 354823168, 0, 1},
		{"gpt2-large", 774030080, 0, 1},
		{"gpt2-xl", 1557611200, 0, 1},
		{"spdf-gpt2-small", 125_230_000, 84_934_656, 10_000},
		{"spdf-gpt3-xl", 1_315_700_000, 1_207_959_552, 100_000},
		{"gpt3-125m", 125_000_000, 0, 1_000_000},
		{"gpt3-350m", 356_000_000, 0, 1_000_000},
		{"gpt3-760m", 760_000_000, 0, 10_000_000},
		{"gpt3-1.3b", 1_300_000_000, 0, 100_000_000},
		{"gpt3-2.7b", 2_700_000_000, 0, 100_000_000},
		{"gpt3-6.7b", 6_700_000_000, 0, 100_000_000},
		{"gpt3-13b", 13_000_000_000, 0, 1_000_000_000},
		{"gpt3-175b", 175_000_000_000, 0, 1_000_000_000},
		{"cerebras-gpt-111m", 111_000_000, 0, 1_000_000},
		{"cerebras-gpt-256m", 256_000_000, 0, 1_000_000},
		{"cerebras-gpt-590m", 590_000_000, 0, 1_000_000},
		{"cerebras-gpt-1.3b", 1_300_000_000, 0, 100_000_000},
		{"cerebras-gpt-2.7b", 2_700_000_000, 0, 100_000_000},
		{"cerebras-gpt-6.7b", 6_700_000_000, 0, 100_000_000},
		{"cerebras-gpt-13b", 13_000_000_000, 0, 1_000_000_000},
	} {
		p := mustPreset(t, tc.name).Params()
		if got := p.Total(); (got-tc.total)*2 > tc.unit || (tc.total-got)*2 > tc.unit {
			t.Errorf("%s: %d parameters, published %d (± half of %d)", tc.name, got, tc.total, tc.unit)
		}
		if tc.weights != 0 && p.Weights != tc.weights {
			t.Errorf("%s: %d sparsifiable weights, want %d", tc.name, p.Weights, tc.weights)
		}
	}
}

func TestPresetsAreValid(t *testing.T) {
	names := gpt.PresetNames()
	for _, name := range names {
		c := mustPreset(t, name)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.VocabSize != 50257 {
			t.Errorf("%s: vocabulary %d, want 50257", name, c.VocabSize)
		}
	}
	if sorted := slices.Compact(slices.Sorted(slices.Values(names))); len(sorted) != len(names) {
		t.Errorf("PresetNames holds a name twice: %q", names)
	}
	if got, want := mustPreset(t, "GPT2-small"), mustPreset(t, "gpt2"); got != want {
		t.Errorf("alias GPT2-small is %+v, want %+v", got, want)
	}
}

func TestParamsWithInner(t *testing.T) {
	c := gpt.Config{VocabSize: 10, NCtx: 4, NEmbd: 6, NLayer: 2, NHead: 3, NInner: 9}
	want := gpt.ParamCount{
		Embeddings: 60,
		Positions:  24,
		Weights:    2 * (6*18 + 6*6 + 6*9 + 9*6),
		Biases:     2 * (18 + 6 + 9 + 6),
		Norms:      2*(12+12) + 12,
	}
	if got := c.Params(); got != want {
		t.Errorf("Params() = %+v, want %+v", got, want)
	}
}

const tinyConfig = `{"model_type":"gpt2","vocab_size":11,"n_positions":8,"n_embd":4,"n_layer":2,"n_head":2}`

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestResolveConfig(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	newest := filepath.Join(run, "checkpoints", "step-00000010")
	writeFile(t, filepath.Join(newest, "config.json"), tinyConfig)
	writeFile(t, filepath.Join(newest, "model.safetensors"), "")
	writeFile(t, filepath.Join(run, "checkpoints", "latest"), "step-00000010\n")

	for _, tc := range []struct {
		name, model string
		layers      int
	}{
		{"preset", "gpt2-xl", 48},
		{"config file", filepath.Join(newest, "config.json"), 2},
		{"checkpoint directory", newest, 2},
		{"weights with a config beside them", filepath.Join(newest, "model.safetensors"), 2},
		{"run directory", run, 2},
	} {
		c, err := gpt.ResolveConfig(tc.model)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if c.NLayer != tc.layers {
			t.Errorf("%s: %d layers, want %d", tc.name, c.NLayer, tc.layers)
		}
	}
	// A directory that is called like a preset is a path to ReadConfig alone.
	t.Chdir(dir)
	writeFile(t, filepath.Join("gpt2", "config.json"), tinyConfig)
	if c, err := gpt.ReadConfig("gpt2"); err != nil || c.NLayer != 2 {
		t.Errorf(`ReadConfig("gpt2"): %d layers, %v, want 2`, c.NLayer, err)
	}
	if c, err := gpt.ResolveConfig("gpt2"); err != nil || c.NLayer != 12 {
		t.Errorf(`ResolveConfig("gpt2"): %d layers, %v, want 12`, c.NLayer, err)
	}
	if got, err := gpt.CheckpointDir(run); err != nil || got != newest {
		t.Errorf("CheckpointDir(%q) = %q, %v, want %q", run, got, err, newest)
	}
}

func TestResolveConfigRejects(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	writeFile(t, at("empty/other.txt"), "")
	writeFile(t, at("escape/checkpoints/latest"), "../../etc\n")
	writeFile(t, at("blank/checkpoints/latest"), "\n")
	writeFile(t, at("gone/checkpoints/latest"), "step-00000099\n")
	writeFile(t, at("long/checkpoints/latest"), strings.Repeat("a", 5000))
	writeFile(t, at("huge.json"), strings.Repeat(" ", 1<<20)+tinyConfig)
	writeFile(t, at("bad.json"), `{"n_layer":`)
	writeFile(t, at("llama.json"), `{"model_type":"llama"}`)
	writeFile(t, at("alone/model.safetensors"), "")

	for _, tc := range []struct{ model, want string }{
		{at("empty"), "holds neither config.json nor checkpoints/latest"},
		{at("escape"), "want the name of a directory beside it"},
		{at("blank"), "want the name of a directory beside it"},
		{at("gone"), `names "step-00000099", which is not a directory there`},
		{at("long"), "more than 4096 bytes"},
		{at("huge.json"), "more than 1048576 bytes"},
		{at("bad.json"), "config.json: unexpected end of JSON input"},
		{at("llama.json"), `model_type is "llama"`},
		{at("alone/model.safetensors"), "config.json"},
	} {
		_, err := gpt.ResolveConfig(tc.model)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("ResolveConfig(%q): %v, want an error with %q", tc.model, err, tc.want)
		}
	}
}

func TestResolveConfigUnknown(t *testing.T) {
	for _, tc := range []struct {
		model string
		want  []string
	}{
		{"gpt2-medum", []string{"gpt2-medium"}},
		{"gpt2-smal", []string{"gpt2-small"}},
		{"spdf-gpt3-x", []string{"spdf-gpt3-xl"}},
		{"no/such/place", nil},
	} {
		_, err := gpt.ResolveConfig(tc.model)
		var unknown *gpt.UnknownModelError
		if !errors.As(err, &unknown) {
			t.Fatalf("ResolveConfig(%q): %v, want *UnknownModelError", tc.model, err)
		}
		if len(unknown.Nearest) == 0 && tc.want != nil || tc.want != nil && unknown.Nearest[0] != tc.want[0] || tc.want == nil && unknown.Nearest != nil {
			t.Errorf("ResolveConfig(%q): nearest %q, want %q first", tc.model, unknown.Nearest, tc.want)
		}
		want := `gpt: model "` + tc.model + `": not a preset, and no such file or directory`
		if err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
	}
}
