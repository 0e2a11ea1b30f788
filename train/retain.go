package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// checkpointSteps returns the steps of the checkpoints in a run directory, in
// ascending order.
func checkpointSteps(run string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(run, CheckpointsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("train: checkpoint: %w", err)
	}
	var steps []int
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), "step-")
		if step, err := strconv.Atoi(digits); ok && err == nil && e.IsDir() && e.Name() == stepName(step) {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// prune removes the checkpoints that are neither among the newest KeepLast nor
// among the best.
func prune(run string, pos position) error {
	if pos.Config.KeepLast == 0 {
		return nil
	}
	steps, err := checkpointSteps(run)
	if err != nil {
		return err
	}
	for i, step := range steps {
		newest := i >= len(steps)-pos.Config.KeepLast
		isBest := slices.ContainsFunc(pos.Best, func(b best) bool { return b.Step == step })
		if newest || isBest || step == pos.Step {
			continue
		}
		if err := os.RemoveAll(checkpointDir(run, step)); err != nil {
			return fmt.Errorf("train: checkpoint: %w", err)
		}
	}
	return nil
}

// removeLeftovers deletes the half-written checkpoints of a process that was
// killed. Only the names that formats.AtomicDir and WriteAtomic make here are
// touched.
func removeLeftovers(run string) error {
	dir := filepath.Join(run, CheckpointsDir)
	for _, pattern := range []string{".step-*.tmp-*", ".step-*.old-*", "." + LatestFile + ".tmp-*"} {
		list, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("train: checkpoint: %w", err)
		}
		for _, path := range list {
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("train: checkpoint: %w", err)
			}
		}
	}
	return nil
}

// validated takes note of the validation loss after the present step. It
// reports whether a checkpoint has to be kept for it and whether the run has
// waited long enough for an improvement.
func (r *Run) validated(loss float64) (keep, stop bool) {
	c, p := r.Config, &r.pos
	if p.BestLoss == 0 || loss < p.BestLoss-c.MinDelta {
		p.BestLoss, p.Waited = loss, 0
	} else {
		p.Waited++
	}
	if c.KeepBest > 0 {
		p.Best = append(p.Best, best{p.Step, loss})
		// The earlier of two equals wins.
		slices.SortStableFunc(p.Best, func(a, b best) int {
			switch {
			case a.Loss < b.Loss:
				return -1
			case a.Loss > b.Loss:
				return 1
			}
			return 0
		})
		p.Best = p.Best[:min(len(p.Best), c.KeepBest)]
		keep = slices.ContainsFunc(p.Best, func(b best) bool { return b.Step == p.Step })
	}
	return keep, c.Patience > 0 && p.Waited >= c.Patience
}
