package gpt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/masks"
)

// Names of the files of a checkpoint directory, Hugging Face's where it has one.
const (
	ConfigFile  = "config.json"
	WeightsFile = "model.safetensors"
	MasksFile   = "masks.safetensors"
)

// hfPrefix stands before every tensor name in a GPT2LMHeadModel checkpoint;
// a GPT2Model checkpoint, such as the published gpt2, has none.
const hfPrefix = "transformer."

// ignoredSuffixes are buffers in older GPT-2 checkpoints, constants of the
// architecture that hold no weights.
var ignoredSuffixes = []string{".attn.bias", ".attn.masked_bias"}

// WriteCheckpoint writes config.json, model.safetensors and, for a model with
// masks, masks.safetensors into dir, which exists. transformers loads the
// result as a GPT2LMHeadModel. eos is the id of the end-of-text token. Updates
// of low rank are merged, and kept in adapter.safetensors too.
func (m *Model) WriteCheckpoint(dir string, eos int) error {
	if m.lora != nil {
		merged, err := m.Merge()
		if err != nil {
			return err
		}
		if err := merged.WriteCheckpoint(dir, eos); err != nil {
			return err
		}
		return m.writeAdapter(dir)
	}
	config, err := m.Config.MarshalHF(eos)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), append(config, '\n'), 0o644); err != nil {
		return err
	}
	tensors := make([]safetensors.Tensor, len(m.Params))
	for i, p := range m.Params {
		tensors[i] = p.tensor()
	}
	if err := safetensors.WriteFile(filepath.Join(dir, WeightsFile), false, tensors, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	if m.Masks != nil {
		return maskfile.Write(filepath.Join(dir, MasksFile), false, m.Masks)
	}
	return nil
}

// Load reads a model in Hugging Face's GPT-2 layout: a checkpoint directory, a
// run directory (its newest checkpoint), or a .safetensors file or index with
// config.json beside it. The tensors may carry the prefix "transformer." or
// not, be of any float type, and lie in one file or in shards. With
// masks.safetensors beside the weights the model is sparse, unless dense is
// set; every pruned weight must then be exactly +0.
//
// It returns an error if a tensor is missing, unknown, or of a shape that
// config.json contradicts.
func Load(path string, dense bool) (*Model, error) {
	dir, _, err := locate(path)
	if err != nil {
		return nil, err
	}
	if dense {
		return LoadWithMasks(path, nil)
	}
	set, err := maskfile.Read(filepath.Join(dir, MasksFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return LoadWithMasks(path, set)
}

// locate returns the directory that path stands for and what to open in it.
func locate(path string) (dir, weights string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", "", fmt.Errorf("gpt: model %q: %w", path, err)
	}
	if !info.IsDir() {
		return filepath.Dir(path), path, nil
	}
	dir, err = CheckpointDir(path)
	return dir, dir, err
}

// LoadWithMasks is Load with the masks given; nil loads a dense model.
func LoadWithMasks(path string, set *masks.Set) (*Model, error) {
	dir, weights, err := locate(path)
	if err != nil {
		return nil, err
	}
	c, err := ReadConfig(filepath.Join(dir, ConfigFile))
	if err != nil {
		return nil, err
	}
	f, err := safetensors.Open(weights)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// The shapes come first: a config that promises more than the file holds
	// must cost nothing.
	if err := checkTensors(c, f); err != nil {
		return nil, fmt.Errorf("gpt: %s: %w", dir, err)
	}
	m, err := New(c, set)
	if err != nil {
		return nil, err
	}
	if set != nil {
		if err := checkPruned(weights, set); err != nil {
			return nil, fmt.Errorf("gpt: %s: %w", dir, err)
		}
	}
	for _, p := range m.Params {
		if err := p.read(f); err != nil {
			return nil, fmt.Errorf("gpt: %s: %w", dir, err)
		}
	}
	return m, nil
}

// checkPruned makes sure that every weight of a checkpoint that set prunes is +0.
func checkPruned(path string, set *masks.Set) error {
	c, err := convert.Open(path, convert.OpenOptions{})
	if err != nil {
		return err
	}
	defer c.Close()
	awake, _, err := c.FindAwake(set)
	if err != nil || len(awake) == 0 {
		return err
	}
	return fmt.Errorf("%q: weight (%d, %d) is not +0, the mask prunes it", awake[0].Mask.Key(), awake[0].Row, awake[0].Col)
}

// storedName returns the name under which f holds the tensor name.
func storedName(f *safetensors.File, name string) (formats.Info, bool) {
	if info, ok := f.Lookup(hfPrefix + name); ok {
		return info, true
	}
	return f.Lookup(name)
}

// read fills p from f.
func (p *Param) read(f *safetensors.File) error {
	info, _ := storedName(f, p.Name)
	if !p.Masked() {
		return f.ReadFloat32(p.W, info.Name)
	}
	dense := make([]float32, p.Size())
	if err := f.ReadFloat32(dense, info.Name); err != nil {
		return err
	}
	p.FromDense(p.W, dense)
	return nil
}

// shapes lists the tensors of a model of configuration c.
func shapes(c Config, yield func(name string, shape ...int)) {
	C, inner := c.NEmbd, c.Inner()
	yield("wte.weight", c.VocabSize, C)
	yield("wpe.weight", c.NCtx, C)
	for i := range c.NLayer {
		h := fmt.Sprintf("h.%d.", i)
		yield(h+"ln_1.weight", C)
		yield(h+"ln_1.bias", C)
		yield(h+"attn.c_attn.weight", C, 3*C)
		yield(h+"attn.c_attn.bias", 3*C)
		yield(h+"attn.c_proj.weight", C, C)
		yield(h+"attn.c_proj.bias", C)
		yield(h+"ln_2.weight", C)
		yield(h+"ln_2.bias", C)
		yield(h+"mlp.c_fc.weight", C, inner)
		yield(h+"mlp.c_fc.bias", inner)
		yield(h+"mlp.c_proj.weight", inner, C)
		yield(h+"mlp.c_proj.bias", C)
	}
	yield("ln_f.weight", C)
	yield("ln_f.bias", C)
}

// checkTensors compares the tensors of f with those that c promises.
func checkTensors(c Config, f *safetensors.File) error {
	var err error
	known := map[string]bool{}
	shapes(c, func(name string, shape ...int) {
		if err != nil {
			return
		}
		info, ok := storedName(f, name)
		switch {
		case !ok:
			err = fmt.Errorf("tensor %q is missing, config.json has n_layer %d", name, c.NLayer)
		case !equalShape(info.Shape, shape):
			err = fmt.Errorf("tensor %q is %v, config.json makes it %v", info.Name, info.Shape, shape)
		}
		known[info.Name] = true
	})
	if err != nil {
		return err
	}
	for _, info := range f.Infos() {
		if known[info.Name] || ignored(info.Name) {
			continue
		}
		if info.Name == "lm_head.weight" {
			if err := checkTied(f, info); err != nil {
				return err
			}
			continue
		}
		return fmt.Errorf("tensor %q is not part of a GPT-2 with n_layer %d", info.Name, c.NLayer)
	}
	return nil
}

// checkTied makes sure that a stored head is the embedding again.
func checkTied(f *safetensors.File, head formats.Info) error {
	wte, _ := storedName(f, "wte.weight")
	a, err := f.Bytes(head.Name)
	if err != nil {
		return err
	}
	b, err := f.Bytes(wte.Name)
	if err != nil {
		return err
	}
	same := false
	if err := formats.CatchFault(func() { same = bytes.Equal(a, b) }); err != nil {
		return fmt.Errorf("tensor %q: %w", head.Name, err)
	}
	if head.DType != wte.DType || !same {
		return fmt.Errorf("tensor %q differs from %q, only a tied head is supported", head.Name, wte.Name)
	}
	return nil
}

func ignored(name string) bool {
	for _, s := range ignoredSuffixes {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

func equalShape(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
