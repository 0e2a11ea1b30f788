// Command _gen writes the amd64 assembly of package kernels and its Go stubs.
//
// Usage, inside kernels/_gen:
//
//	go run . ..          write the files into the package folder
//	go run . -check ..   write nothing, exit 1 if a file there differs
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
)

// files lists what is generated: name_amd64.s and name_amd64.go each.
var files = []struct {
	name string
	emit func(g *gen)
}{
	{"tile", emitTile},
	{"bf16", emitBF16},
	{"panel", emitPanel},
	{"few", emitFew},
	{"transpose", emitTranspose},
	{"copy", emitCopy},
	{"vector", emitVector},
	{"exp", emitExp},
	{"layernorm", emitLayerNorm},
	{"adamw", emitAdamW},
	{"peak", emitPeak},
}

func main() {
	check := flag.Bool("check", false, "compare with the files present instead of writing them")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: go run . [-check] <folder of package kernels>")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *check); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run generates every file in memory, then writes or compares it.
func run(dir string, check bool) error {
	cfg := printer.Config{Argv: []string{"go", "run", ".", ".."}, Pkg: "kernels"}
	for _, f := range files {
		g := &gen{Context: build.NewContext()}
		g.ConstraintExpr("amd64,!noasm")
		f.emit(g)
		file, err := g.Result()
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := pass.Compile.Execute(file); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		for _, out := range []struct {
			ext string
			p   printer.Printer
		}{{".s", printer.NewGoAsm(cfg)}, {".go", printer.NewStubs(cfg)}} {
			want, err := out.p.Print(file)
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			path := filepath.Join(dir, f.name+"_amd64"+out.ext)
			got, err := os.ReadFile(path)
			if err == nil && bytes.Equal(got, want) {
				continue
			}
			if check {
				return fmt.Errorf("%s is not what the generator writes: run go run . .. in kernels/_gen", path)
			}
			if err := os.WriteFile(path, want, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
