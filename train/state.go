package train

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// Names inside a run directory.
const (
	ConfigFile     = "config.yaml"
	CheckpointsDir = "checkpoints"
	LatestFile     = "latest"
	StateFile      = "trainer_state.safetensors"
)

// stateKey is the metadata key of trainer_state.safetensors that holds the
// JSON of a state.
const stateKey = "spdf.trainer_state"

// stateVersion changes when a state of an older version can no longer
// continue with the same bits.
const stateVersion = 1

// state is what a run needs to continue besides weights, masks and moments.
// The data position is Step*BatchSize, because batches are a pure function
// of seed and step; no random generator has a state.
type state struct {
	Version int               `json:"version"`
	Step    int               `json:"step"`
	Tokens  int64             `json:"tokens"`
	Config  Config            `json:"config"`
	SHA256  map[string]string `json:"sha256"` // of the other files of the checkpoint
}

// checkpointDir returns the directory of the checkpoint of a step.
func checkpointDir(run string, step int) string {
	return filepath.Join(run, CheckpointsDir, stepName(step))
}

func stepName(step int) string { return fmt.Sprintf("step-%08d", step) }

// save writes the checkpoint of the current step as a whole or not at all,
// points latest to it and drops the ones that Config.KeepLast lets go.
func (r *Run) save() error {
	dir := checkpointDir(r.Dir, r.opt.Step)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("train: checkpoint: %w", err)
	}
	// An existing directory of the same step holds the same bits or, after a
	// failed disk, fewer; it is replaced.
	err := formats.AtomicDir(dir, true, func(tmp string) error {
		if err := r.Model.WriteCheckpoint(tmp, r.EOS); err != nil {
			return err
		}
		if r.SaveFiles != nil {
			if err := r.SaveFiles(tmp); err != nil {
				return err
			}
		}
		return r.writeState(tmp)
	})
	if err != nil {
		return fmt.Errorf("train: checkpoint: %w", err)
	}
	latest := filepath.Join(r.Dir, CheckpointsDir, LatestFile)
	err = formats.WriteAtomic(latest, true, func(w io.Writer) error {
		_, err := io.WriteString(w, stepName(r.opt.Step)+"\n")
		return err
	})
	if err != nil {
		return fmt.Errorf("train: checkpoint: %w", err)
	}
	return r.prune()
}

// prune removes all but the newest KeepLast checkpoints.
func (r *Run) prune() error {
	if r.Config.KeepLast == 0 {
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(r.Dir, CheckpointsDir))
	if err != nil {
		return fmt.Errorf("train: checkpoint: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, err := strconv.Atoi(strings.TrimPrefix(e.Name(), "step-")); err == nil && e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for len(names) > r.Config.KeepLast {
		if names[0] != stepName(r.opt.Step) {
			if err := os.RemoveAll(filepath.Join(r.Dir, CheckpointsDir, names[0])); err != nil {
				return fmt.Errorf("train: checkpoint: %w", err)
			}
		}
		names = names[1:]
	}
	return nil
}

// writeState writes trainer_state.safetensors: the moments in the layout of
// the weights, kept ones only where there is a mask.
func (r *Run) writeState(dir string) error {
	s := state{Version: stateVersion, Step: r.opt.Step, Tokens: r.tokens, Config: r.Config, SHA256: map[string]string{}}
	for _, name := range []string{gpt.WeightsFile, gpt.MasksFile, gpt.AdapterFile} {
		sum, err := fileSHA256(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		s.SHA256[name] = sum
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	var tensors []safetensors.Tensor
	for i, p := range r.params {
		shape := []int{len(p.W)}
		tensors = append(tensors,
			safetensors.Float32s("m."+p.Name, shape, r.opt.M[i]),
			safetensors.Float32s("v."+p.Name, shape, r.opt.V[i]))
	}
	return safetensors.WriteFile(filepath.Join(dir, StateFile), false, tensors, map[string]string{stateKey: string(text)})
}

func fileSHA256(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Resume loads the checkpoint in dir into r, whose Model it replaces: weights,
// masks, moments and position. It returns an error if a file was changed
// since, or if the configuration of the run differs from the saved one.
func (r *Run) Resume(dir string) error {
	f, err := safetensors.Open(filepath.Join(dir, StateFile))
	if err != nil {
		return err
	}
	defer f.Close()
	var s state
	if err := json.Unmarshal([]byte(f.Metadata()[stateKey]), &s); err != nil {
		return fmt.Errorf("train: %s: trainer state: %w", dir, err)
	}
	if s.Version != stateVersion {
		return fmt.Errorf("train: %s: trainer state of version %d, this program reads %d", dir, s.Version, stateVersion)
	}
	if s.Config != r.Config {
		return fmt.Errorf("train: %s: the configuration differs from the one the run was started with", dir)
	}
	for name, want := range s.SHA256 {
		got, err := fileSHA256(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("train: %w", err)
		}
		if got != want {
			return fmt.Errorf("train: %s: SHA-256 is %s, the checkpoint was written with %s", filepath.Join(dir, name), got, want)
		}
	}
	if r.Model.LoRA() != nil {
		err = r.Model.ReadAdapter(dir)
	} else {
		r.Model, err = gpt.Load(dir, false)
	}
	if err != nil {
		return err
	}
	r.opt = nil
	r.prepare()
	for i, p := range r.params {
		if err := f.ReadFloat32(r.opt.M[i], "m."+p.Name); err != nil {
			return err
		}
		if err := f.ReadFloat32(r.opt.V[i], "v."+p.Name); err != nil {
			return err
		}
	}
	r.opt.Step, r.tokens = s.Step, s.Tokens
	return nil
}
