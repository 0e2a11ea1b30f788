package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

func newMaskCmd(a *app) *cobra.Command {
	cmd := group(a, "mask", "Create, inspect, verify, compare, apply, sign and exchange weight masks",
		newMaskCreateCmd(a), newMaskInspectCmd(a), newMaskVerifyCmd(a), newMaskDiffCmd(a), newMaskApplyCmd(a),
		newMaskSignCmd(a), newMaskImportCmd(a), newMaskExportCmd(a))
	cmd.Long = `A mask says which weights of each linear layer exist. Mask files are safetensors
files with a documented layout (docs/mask-format.md). Wherever one is read, a
run or checkpoint directory that holds masks.safetensors will do.`
	return cmd
}

// parseSparsity reads the value of the --sparsity flag of a command.
func parseSparsity(command, text string) (masks.Sparsity, error) {
	s, err := masks.ParseSparsity(text)
	var (
		outside *masks.RangeError
		syntax  *masks.SyntaxError
	)
	switch {
	case err == nil:
		return s, nil
	case errors.As(err, &outside):
		usage := usageErrorf("%s: --sparsity %s is outside [0, 1)", command, text)
		if fraction := outside.Percent(); fraction != "" {
			return s, withHint(usage, "for %s %% write --sparsity %s", text, fraction)
		}
		return s, usage
	case errors.As(err, &syntax):
		usage := usageErrorf("%s: --sparsity %.64q %s", command, text, syntax.Why)
		if number, isPercent := strings.CutSuffix(text, "%"); isPercent {
			if _, err := masks.ParseSparsity(number); errors.As(err, &outside) && outside.Percent() != "" {
				return s, withHint(usage, "for %s %% write --sparsity %s", number, outside.Percent())
			}
		}
		return s, usage
	}
	return s, err
}

// readMasks reads a mask file, or that of a run or checkpoint directory.
func readMasks(file string) (*masks.Set, error) {
	info, err := os.Stat(file)
	if err == nil && info.IsDir() {
		dir, err := gpt.CheckpointDir(file)
		if err != nil {
			return nil, err
		}
		file = filepath.Join(dir, gpt.MasksFile)
	}
	s, err := maskfile.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("mask: %w", err)
	}
	return s, err
}
