package gpt

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"reflect"

	"github.com/spdfctl/spdfctl/formats/safetensors"
)

// AdapterFile holds the factors of a model with updates of low rank, in a
// checkpoint whose weights are the merged ones:
//
//	<key of the matrix>.lora_A  (in, r)
//	<key of the matrix>.lora_B  (r, out)
//
// and, in the metadata under "spdf.lora", the LoRA as JSON.
const AdapterFile = "adapter.safetensors"

const loraKey = "spdf.lora"

// writeAdapter writes adapter.safetensors into dir.
func (m *Model) writeAdapter(dir string) error {
	text, err := json.Marshal(m.lora)
	if err != nil {
		return err
	}
	var tensors []safetensors.Tensor
	for _, p := range m.loraParams {
		tensors = append(tensors, safetensors.Float32s(p.Name, p.Shape, p.W))
	}
	return safetensors.WriteFile(filepath.Join(dir, AdapterFile), false, tensors, map[string]string{loraKey: string(text)})
}

// ReadAdapter fills in the factors of m, a model with the same update on the
// same base, from the checkpoint in dir. It returns an error if the settings
// differ, or if base and factors do not merge to the weights of the checkpoint,
// bit for bit: then the base is another one.
func (m *Model) ReadAdapter(dir string) error {
	f, err := safetensors.Open(filepath.Join(dir, AdapterFile))
	if err != nil {
		return err
	}
	defer f.Close()
	var l LoRA
	if err := json.Unmarshal([]byte(f.Metadata()[loraKey]), &l); err != nil {
		return fmt.Errorf("gpt: %s: %s: %w", dir, AdapterFile, err)
	}
	if m.lora == nil || !reflect.DeepEqual(l, *m.lora) {
		return fmt.Errorf("gpt: %s: the update is %+v, the model's is %+v", dir, l, m.lora)
	}
	if got, want := len(f.Infos()), len(m.loraParams); got != want {
		return fmt.Errorf("gpt: %s: %s: %d tensors, want %d", dir, AdapterFile, got, want)
	}
	for _, p := range m.loraParams {
		info, ok := f.Lookup(p.Name)
		if !ok || !equalShape(info.Shape, p.Shape) {
			return fmt.Errorf("gpt: %s: %s: tensor %q is %v, want %v", dir, AdapterFile, p.Name, info.Shape, p.Shape)
		}
		if err := f.ReadFloat32(p.W, p.Name); err != nil {
			return err
		}
	}
	merged, err := m.Merge()
	if err != nil {
		return err
	}
	saved, err := Load(dir, false)
	if err != nil {
		return err
	}
	for i, p := range merged.Params {
		q := saved.Params[i]
		if len(p.W) != len(q.W) {
			return fmt.Errorf("gpt: %s: %q has %d weights, base and update have %d", dir, p.Name, len(q.W), len(p.W))
		}
		for j := range p.W {
			if math.Float32bits(p.W[j]) != math.Float32bits(q.W[j]) {
				return fmt.Errorf("gpt: %s: weight %d of %q is %g, base and update give %g: the base is another one", dir, j, p.Name, q.W[j], p.W[j])
			}
		}
	}
	return nil
}
