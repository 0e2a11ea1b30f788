package gpt

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// gptVocab is the size of GPT-2's byte-level BPE vocabulary.
const gptVocab = 50257

// preset is one published shape.
type preset struct {
	name                      string
	ctx, layers, width, heads int
}

// presets holds the published shapes. A preset is a shape and nothing else: it
// carries no weights, and the function computed is always GPT-2's, tanh-GELU
// included, also where the original used another activation.
//
// Sources:
//
//   - spdf-*: Thangarasa et al., "SPDF: Sparse Pre-training and Dense
//     Fine-tuning for Large Language Models", UAI 2023, supplement, Table 1.
//     The paper does not state the vocabulary; GPT-2's reproduces its FLOPs.
//   - gpt2*: the released checkpoints of Radford et al., 2019.
//   - gpt3-*: Brown et al., "Language Models are Few-Shot Learners", 2020,
//     Table 2.1. Two printed rows contradict themselves and stand corrected
//     here: 13B prints d_model 5140 beside 40 heads of 128, which is 5120, and
//     1.3B prints 24 heads of 128 beside d_model 2048, which is 16 heads.
//   - cerebras-gpt-*: Dey et al., "Cerebras-GPT", 2023, and the
//     configurations released with it.
var presets = []preset{
	{"spdf-gpt2-small", 2048, 12, 768, 12},
	{"spdf-gpt3-xl", 2048, 24, 2048, 16},

	{"gpt2", 1024, 12, 768, 12},
	{"gpt2-medium", 1024, 24, 1024, 16},
	{"gpt2-large", 1024, 36, 1280, 20},
	{"gpt2-xl", 1024, 48, 1600, 25},

	{"gpt3-125m", 2048, 12, 768, 12},
	{"gpt3-350m", 2048, 24, 1024, 16},
	{"gpt3-760m", 2048, 24, 1536, 16},
	{"gpt3-1.3b", 2048, 24, 2048, 16},
	{"gpt3-2.7b", 2048, 32, 2560, 32},
	{"gpt3-6.7b", 2048, 32, 4096, 32},
	{"gpt3-13b", 2048, 40, 5120, 40},
	{"gpt3-175b", 2048, 96, 12288, 96},

	{"cerebras-gpt-111m", 2048, 10, 768, 12},
	{"cerebras-gpt-256m", 2048, 14, 1088, 17},
	{"cerebras-gpt-590m", 2048, 18, 1536, 12},
	{"cerebras-gpt-1.3b", 2048, 24, 2048, 16},
	{"cerebras-gpt-2.7b", 2048, 32, 2560, 32},
	{"cerebras-gpt-6.7b", 2048, 32, 4096, 32},
	{"cerebras-gpt-13b", 2048, 40, 5120, 40},
}

// presetAliases are other common spellings.
var presetAliases = map[string]string{
	"gpt2-small": "gpt2",
	"gpt3-small": "gpt3-125m",
	"gpt3-xl":    "gpt3-1.3b",
}

// Preset returns the configuration of a published model shape by its name or
// alias, letter case ignored. The second result is false if there is none.
func Preset(name string) (Config, bool) {
	name = strings.ToLower(name)
	if full, ok := presetAliases[name]; ok {
		name = full
	}
	for _, p := range presets {
		if p.name == name {
			return Config{
				VocabSize: gptVocab,
				NCtx:      p.ctx,
				NEmbd:     p.width,
				NLayer:    p.layers,
				NHead:     p.heads,
			}.WithDefaults(), true
		}
	}
	return Config{}, false
}

// PresetNames lists the names that Preset knows, aliases left out, family by
// family from small to large.
func PresetNames() []string {
	names := make([]string, len(presets))
	for i, p := range presets {
		names[i] = p.name
	}
	return names
}

// UnknownModelError is a model argument that is neither a preset nor a path.
type UnknownModelError struct {
	Model   string
	Nearest []string // names of presets spelt alike, the closest first; may be empty
}

func (e *UnknownModelError) Error() string {
	return fmt.Sprintf("gpt: model %q: not a preset, and no such file or directory", e.Model)
}

// maxConfigBytes bounds a config.json; real ones have about one kilobyte.
const maxConfigBytes = 1 << 20

// ResolveConfig returns the configuration that a model argument stands for: a
// preset name, or a path that ReadConfig accepts.
//
// A preset name wins over a path of the same spelling, so that its meaning does
// not depend on the working directory; "./gpt2" is always the path. It returns
// *UnknownModelError if model is neither.
func ResolveConfig(model string) (Config, error) {
	if c, ok := Preset(model); ok {
		return c, nil
	}
	if _, err := os.Stat(model); os.IsNotExist(err) {
		return Config{}, &UnknownModelError{Model: model, Nearest: nearestPresets(model)}
	}
	return ReadConfig(model)
}

// ReadConfig reads the configuration at path: a config.json, a directory that
// holds one, a run directory (its newest checkpoint), or a .safetensors file or
// index with config.json beside it.
func ReadConfig(path string) (Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Config{}, fmt.Errorf("gpt: model %q: %w", path, err)
	}
	file := path
	switch {
	case info.IsDir():
		dir, err := CheckpointDir(path)
		if err != nil {
			return Config{}, err
		}
		file = filepath.Join(dir, ConfigFile)
	case strings.HasSuffix(path, ".safetensors"), strings.HasSuffix(path, ".safetensors.index.json"):
		file = filepath.Join(filepath.Dir(path), ConfigFile)
	}
	data, err := readBounded(file, maxConfigBytes)
	if err != nil {
		return Config{}, fmt.Errorf("gpt: model %q: %w", path, err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("gpt: model %q: %w", path, err)
	}
	return c, nil
}

// maxLatestBytes bounds checkpoints/latest, which holds one directory name.
const maxLatestBytes = 4096

// CheckpointDir returns the checkpoint directory that dir stands for: dir
// itself, or, if dir is a run directory, the newest complete checkpoint, which
// the text file checkpoints/latest names. It does not look into the checkpoint.
func CheckpointDir(dir string) (string, error) {
	latest := filepath.Join(dir, "checkpoints", "latest")
	if _, err := os.Stat(filepath.Join(dir, ConfigFile)); err == nil {
		return dir, nil
	}
	data, err := readBounded(latest, maxLatestBytes)
	switch {
	case os.IsNotExist(err):
		return "", fmt.Errorf("gpt: model %q: holds neither config.json nor checkpoints/latest", dir)
	case err != nil:
		return "", fmt.Errorf("gpt: model %q: %w", dir, err)
	}
	name := strings.TrimSpace(string(data))
	// The file may come from elsewhere: a name that leaves the directory is refused.
	if name == "" || name == "." || strings.ContainsAny(name, `/\`) || !filepath.IsLocal(name) {
		return "", fmt.Errorf("gpt: model %q: checkpoints/latest names %q, want the name of a directory beside it", dir, name)
	}
	found := filepath.Join(dir, "checkpoints", name)
	if info, err := os.Stat(found); err != nil || !info.IsDir() {
		return "", fmt.Errorf("gpt: model %q: checkpoints/latest names %q, which is not a directory there", dir, name)
	}
	return found, nil
}

// readBounded reads a regular file of at most max bytes.
func readBounded(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("is a directory")}
	}
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > max {
		return nil, fmt.Errorf("%s: has more than %d bytes, the limit", filepath.Base(path), max)
	}
	return data, nil
}

// nearestPresets returns the preset names within a few edits of name.
func nearestPresets(name string) []string {
	const nearest, edits = 3, 4
	name = strings.ToLower(name)
	if len(name) > 2*len("cerebras-gpt-111m") {
		return nil // a path, not a misspelling
	}
	type candidate struct {
		name     string
		distance int
	}
	var found []candidate
	for _, known := range slices.Concat(PresetNames(), slices.Sorted(maps.Keys(presetAliases))) {
		if d := editDistance(name, known); d <= min(edits, len(name)/2) {
			found = append(found, candidate{known, d})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return a.distance - b.distance })
	var names []string
	for _, c := range found[:min(nearest, len(found))] {
		names = append(names, c.name)
	}
	return names
}

// editDistance is Levenshtein's distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
