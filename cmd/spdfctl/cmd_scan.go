package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats/convert"
)

func newScanCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "scan FILE...",
		Short: "Tell what the pickles in a file would do, without executing them",
		Long: `Scan runs the pickles in PyTorch checkpoints, .npy and .npz files and plain pickle
files with a machine that imports and calls nothing, and lists each global that
Python would import and each call that it would make, with the arguments. A directory
stands for the files in it. Anything outside the allow-list, and a pickle that is
malformed, ends the command with exit code 3.`,
		Example: `  spdfctl scan pytorch_model.bin
  spdfctl scan downloads/*.pt --json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.scan(args)
		},
	}
}

// scanReport is the document of "scan --json".
type scanReport struct {
	Safe  bool          `json:"safe"`
	Files []scannedFile `json:"files"`
}

type scannedFile struct {
	File    string          `json:"file"`
	Format  string          `json:"format"`
	Safe    bool            `json:"safe"`
	Pickles []scannedPickle `json:"pickles"`
	Error   string          `json:"error,omitempty"` // the file cannot be read as its format
}

type scannedPickle struct {
	Member   string        `json:"member"`
	Safe     bool          `json:"safe"`
	Findings []scanFinding `json:"findings"`
	Error    string        `json:"error,omitempty"` // where the pickle is malformed
}

type scanFinding struct {
	Action  string `json:"action"`
	Global  string `json:"global"`
	Args    string `json:"args"`
	Offset  int64  `json:"offset"`
	Count   int    `json:"count"`
	Allowed bool   `json:"allowed"`
}

func (a *app) scan(paths []string) error {
	report := scanReport{Safe: true, Files: []scannedFile{}}
	for _, path := range paths {
		files, err := filesOf(path)
		if err != nil {
			return err
		}
		for _, file := range files {
			s, err := scanFile(file)
			if err != nil {
				return err
			}
			report.Safe = report.Safe && s.Safe
			report.Files = append(report.Files, s)
		}
	}
	var err error
	if a.json {
		err = a.printJSON(report)
	} else {
		err = a.printScan(report)
	}
	if err != nil || report.Safe {
		return err
	}
	bad := 0
	for _, f := range report.Files {
		if !f.Safe {
			bad++
		}
	}
	return differenceErrorf("scan: %d of %d files hold something outside the allow-list, or a malformed pickle", bad, len(report.Files))
}

// filesOf returns a file, or the files of a directory.
func filesOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	var files []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".npz", ".safetensors", ".gguf", ".th":
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("scan: %s: holds no checkpoint and no pickle", path)
	}
	return files, nil
}

// scanFile scans one file. One that is not what it seems is reported, because
// Python might still load it; one that cannot be read is an error.
func scanFile(path string) (scannedFile, error) {
	if _, err := os.Stat(path); err != nil {
		return scannedFile{}, fmt.Errorf("scan: %w", err)
	}
	s, err := convert.Scan(path)
	out := scannedFile{File: path, Format: s.Format, Safe: err == nil && s.Safe(), Pickles: []scannedPickle{}}
	if err != nil {
		out.Error = err.Error()
	}
	for _, p := range s.Pickles {
		sp := scannedPickle{Member: p.Member, Safe: p.Safe(), Findings: []scanFinding{}}
		if p.Err != nil {
			sp.Error = p.Err.Error()
		}
		for _, f := range p.Findings {
			sp.Findings = append(sp.Findings, scanFinding(f))
		}
		out.Pickles = append(out.Pickles, sp)
	}
	return out, nil
}

func (a *app) printScan(r scanReport) error {
	t := newTable("file", "pickle", "byte", "action", "global", "arguments", "times", "allowed")
	rows := 0
	for _, f := range r.Files {
		for _, p := range f.Pickles {
			for _, x := range p.Findings {
				allowed := "yes"
				if !x.Allowed {
					allowed = "NO"
				}
				t.add(f.File, visible(p.Member), strconv.FormatInt(x.Offset, 10), x.Action, x.Global, x.Args, strconv.Itoa(x.Count), allowed)
				rows++
			}
		}
	}
	if rows > 0 {
		if err := t.print(a.stdout); err != nil {
			return err
		}
	}
	for _, f := range r.Files {
		if f.Error != "" {
			fmt.Fprintf(a.stdout, "%s: cannot be read: %s\n", f.File, f.Error)
		}
		for _, p := range f.Pickles {
			if p.Error != "" {
				fmt.Fprintf(a.stdout, "%s: malformed: %s\n", f.File, p.Error)
			}
		}
		verdict := "only what is on the allow-list"
		switch {
		case !f.Safe:
			verdict = "NOT SAFE to load with Python"
		case len(f.Pickles) == 0:
			verdict = "no pickle"
		}
		fmt.Fprintf(a.stdout, "%s: %s: %s\n", f.File, f.Format, verdict)
	}
	return nil
}
