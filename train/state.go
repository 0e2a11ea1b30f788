package train

import (
	"bytes"
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
	SumsFile       = "SHA256SUMS" // of the other files of a checkpoint, as sha256sum writes it
)

// stateKey is the metadata key of trainer_state.safetensors that holds the
// JSON of a position.
const stateKey = "spdf.trainer_state"

// stateVersion changes when a state of an older version can no longer
// continue with the same bits.
const stateVersion = 2

// position is what a run needs to continue besides weights, masks and moments.
// Batches are a pure function of seed and step, and so are the places that
// dropout clears; no random generator has a state.
type position struct {
	Version int    `json:"version"`
	Config  Config `json:"config"`

	Step    int   `json:"step"`    // steps done
	Updates int   `json:"updates"` // of the optimizer: steps less the skipped, since the moments were last zero
	Tokens  int64 `json:"tokens"`  // seen
	Shift   int   `json:"shift"`   // batches that were left out after a rollback

	FLOPs     float64 `json:"flops"`     // spent, by the ledger
	Skips     int     `json:"skips"`     // steps skipped in a row
	Rollbacks int     `json:"rollbacks"` // since the run last came past Failed
	Failed    int     `json:"failed"`    // step that was rolled back last
	Evaluated int     `json:"evaluated"` // step of the last validation

	MeanLoss float64 `json:"mean_loss"` // running mean for the spike detector; 0: none yet

	BestLoss float64 `json:"best_loss"` // lowest validation loss so far
	Waited   int     `json:"waited"`    // validations since
	Best     []best  `json:"best"`      // checkpoints that KeepBest keeps, best first

	Unfinished *stepDone `json:"unfinished,omitempty"` // the last step, if its validation was interrupted
}

// stepDone is a step whose update is done and whose validation, log and
// checkpoint may not be.
type stepDone struct {
	Metrics
	Skipped string `json:"skipped,omitempty"` // why there was no update
}

// best is a checkpoint with its validation loss.
type best struct {
	Step int     `json:"step"`
	Loss float64 `json:"loss"`
}

// checkpointDir returns the directory of the checkpoint of a step.
func checkpointDir(run string, step int) string {
	return filepath.Join(run, CheckpointsDir, stepName(step))
}

func stepName(step int) string { return fmt.Sprintf("step-%08d", step) }

// snapshot is a copy of the state of a run that training no longer touches.
type snapshot struct {
	model *gpt.Model
	m, v  [][]float32
	pos   position
}

// snapshot copies the state into s, whose buffers it uses again.
func (r *Run) snapshot(s *snapshot) {
	s.model = r.Model.Snapshot(s.model)
	s.m, s.v = copyAll(s.m, r.opt.M), copyAll(s.v, r.opt.V)
	s.pos = r.pos
	s.pos.Updates = r.opt.Step
	s.pos.Best = slices.Clone(r.pos.Best)
	s.pos.Config = r.Config
}

func copyAll(dst, src [][]float32) [][]float32 {
	dst = slices.Grow(dst[:0], len(src))[:len(src)]
	for i, x := range src {
		dst[i] = append(dst[i][:0], x...)
	}
	return dst
}

// write writes the checkpoint of s as a whole or not at all, points latest to
// it and drops the ones that the configuration lets go.
func (r *Run) write(s *snapshot) error {
	dir := checkpointDir(r.Dir, s.pos.Step)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("train: checkpoint: %w", err)
	}
	// An existing directory of the same step holds the same bits or, after a
	// failed disk, fewer; it is replaced.
	err := formats.AtomicDir(dir, true, func(tmp string) error {
		if err := s.model.WriteCheckpoint(tmp, r.EOS); err != nil {
			return err
		}
		if r.SaveFiles != nil {
			if err := r.SaveFiles(tmp); err != nil {
				return err
			}
		}
		if err := s.writeState(filepath.Join(tmp, StateFile)); err != nil {
			return err
		}
		return writeSums(tmp)
	})
	if err != nil {
		return fmt.Errorf("train: checkpoint: %w", err)
	}
	if err := setLatest(r.Dir, s.pos.Step); err != nil {
		return err
	}
	return prune(r.Dir, s.pos)
}

// setLatest points latest to the checkpoint of a step.
func setLatest(run string, step int) error {
	err := formats.WriteAtomic(filepath.Join(run, CheckpointsDir, LatestFile), true, func(w io.Writer) error {
		_, err := io.WriteString(w, stepName(step)+"\n")
		return err
	})
	if err != nil {
		return fmt.Errorf("train: checkpoint: %w", err)
	}
	return nil
}

// writeState writes the moments in the layout of the weights, kept ones only
// where there is a mask, with the position.
func (s *snapshot) writeState(path string) error {
	text, err := json.Marshal(s.pos)
	if err != nil {
		return err
	}
	var tensors []safetensors.Tensor
	var scratch []float32 // of the tensor that is being written
	add := func(name string, p *gpt.Param, moment []float32) {
		t := safetensors.Float32s(name, []int{len(p.W)}, moment)
		if p.Masked() {
			t.WriteTo = func(w io.Writer) error {
				scratch = slices.Grow(scratch[:0], len(p.W))[:len(p.W)]
				p.RowMajor(scratch, moment)
				return safetensors.Float32s(name, t.Shape, scratch).WriteTo(w)
			}
		}
		tensors = append(tensors, t)
	}
	for i, p := range s.model.Trainable() {
		add("m."+p.Name, p, s.m[i])
		add("v."+p.Name, p, s.v[i])
	}
	return safetensors.WriteFile(path, false, tensors, map[string]string{stateKey: string(text)})
}

// writeSums writes the hashes of all files in dir.
func writeSums(dir string) error {
	sums, err := sumsOf(dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, SumsFile), sums, 0o644)
}

// sumsOf returns what SumsFile has to hold: the hashes of all other files.
func sumsOf(dir string) ([]byte, error) {
	var out bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == SumsFile {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s  %s\n", hex.EncodeToString(h.Sum(nil)), filepath.ToSlash(name))
		return nil
	})
	return out.Bytes(), err
}

// checkSums compares the files of a checkpoint with their hashes. It returns
// an error that names the first file that was changed, is missing or is new.
func checkSums(dir string) error {
	want, err := os.ReadFile(filepath.Join(dir, SumsFile))
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	got, err := sumsOf(dir)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	a, b := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Errorf("train: %s: %s says %q, the files say %q", dir, SumsFile, x, y)
		}
	}
	return nil
}

// Resume loads the checkpoint in dir into r, whose Model it replaces: weights,
// masks, moments and position. It returns an error if a file was changed
// since, or, unless AllowChange is set, if the configuration of the run differs
// from the saved one; that error is ErrConfigChanged.
func (r *Run) Resume(dir string) error {
	if err := checkSums(dir); err != nil {
		return err
	}
	f, err := safetensors.Open(filepath.Join(dir, StateFile))
	if err != nil {
		return err
	}
	defer f.Close()
	var pos position
	if err := json.Unmarshal([]byte(f.Metadata()[stateKey]), &pos); err != nil {
		return fmt.Errorf("train: %s: trainer state: %w", dir, err)
	}
	if pos.Version != stateVersion {
		return fmt.Errorf("train: %s: trainer state of version %d, this program reads %d", dir, pos.Version, stateVersion)
	}
	was, now := pos.Config, r.Config
	was.MaxTime, now.MaxTime = 0, 0 // a limit of the process, not of the run
	if was != now && !r.AllowChange {
		return fmt.Errorf("train: %s: %w", dir, ErrConfigChanged)
	}
	if r.Model.LoRA() != nil {
		err = r.Model.ReadAdapter(dir)
	} else {
		r.Model, err = gpt.Load(dir, false)
	}
	if err != nil {
		return err
	}
	r.pos = pos
	r.prepare(true)
	for i, p := range r.Model.Trainable() {
		moment := make([]float32, len(p.W))
		if err := f.ReadFloat32(moment, "m."+p.Name); err != nil {
			return err
		}
		p.FromRowMajor(r.opt.M[i], moment)
		if err := f.ReadFloat32(moment, "v."+p.Name); err != nil {
			return err
		}
		p.FromRowMajor(r.opt.V[i], moment)
	}
	r.opt.Step = pos.Updates
	return nil
}

// ErrConfigChanged is a resume with other settings than the run was started with.
var ErrConfigChanged = errors.New("the configuration differs from the one the run was started with")

// ResumeNewest takes up the newest checkpoint of the run that is whole, and
// reports each newer one that is not to Log. A run without checkpoints starts
// with the model it has. It returns an error if there are checkpoints and none
// is whole.
func (r *Run) ResumeNewest() error {
	steps, err := checkpointSteps(r.Dir)
	if err != nil {
		return err
	}
	if err := removeLeftovers(r.Dir); err != nil {
		return err
	}
	for i, step := range slices.Backward(steps) {
		err := r.Resume(checkpointDir(r.Dir, step))
		if err == nil {
			return setLatest(r.Dir, step)
		}
		if i == 0 || errors.Is(err, ErrConfigChanged) {
			return err
		}
		r.warnf("checkpoint %s is damaged, taking the one before: %v", stepName(step), err)
	}
	return nil
}
