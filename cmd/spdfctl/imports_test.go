package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// This file enforces the layers of the module and the shape of its tree. It
// parses the files itself: a test that shells out to "go list" passes from
// the cache when only other packages changed.

const module = "github.com/spdfctl/spdfctl/"

// layer says what the packages of one tree may import.
type layer struct {
	tree string
	// module lists the trees of this module, the own tree aside.
	module []string
	// beside lists what an external test package may import on top: trees of
	// the same layer. Nothing ever imports upward, tests included.
	beside []string
	// others lists modules beyond the standard library; nil means any that is
	// in thirdParty.
	others []string
}

// layers is the table; the longest matching tree counts.
var layers = []layer{
	{tree: "kernels", others: []string{"golang.org/x/sys"}},
	{tree: "masks", others: []string{}},
	{tree: "formats", module: []string{"masks"}},
	{tree: "train/gpt", module: []string{"kernels", "masks", "formats"}, beside: []string{"train/optim", "train/data", "train/dist"}},
	{tree: "train/optim", module: []string{"kernels", "masks", "formats"}, beside: []string{"train/gpt", "train/data", "train/dist"}},
	{tree: "train/data", module: []string{"kernels", "masks", "formats"}, beside: []string{"train/gpt", "train/optim", "train/dist"}},
	{tree: "train/dist", module: []string{"kernels", "masks", "formats"}, beside: []string{"train/gpt", "train/optim", "train/data"}},
	{tree: "train", module: []string{"kernels", "masks", "formats", "train/gpt", "train/optim", "train/data", "train/dist"}},
	{tree: "eval", module: []string{"kernels", "masks", "formats", "train/gpt"}},
	{tree: "analysis", module: []string{"masks", "formats", "train/gpt"}},
	{tree: "cmd/spdfctl", module: []string{"kernels", "masks", "formats", "train", "train/gpt", "train/optim", "train/data", "train/dist", "eval", "analysis"}},
}

// thirdParty is every module the product may use, by import path prefix, with
// the one tree it belongs to, or "" for any.
var thirdParty = map[string]string{
	"github.com/ebitengine/purego":      "",
	"github.com/nlpodyssey/safetensors": "formats",
	"github.com/parquet-go/parquet-go":  "formats",
	"github.com/schollz/progressbar":    "cmd/spdfctl",
	"github.com/spf13/cobra":            "cmd/spdfctl",
	"github.com/spf13/pflag":            "cmd/spdfctl",
	"github.com/x448/float16":           "formats",
	"go.yaml.in/yaml":                   "",
	"golang.org/x/sync":                 "",
	"golang.org/x/sys":                  "",
	"golang.org/x/term":                 "cmd/spdfctl",
	"gonum.org/v1/gonum":                "",
	"gonum.org/v1/plot":                 "analysis",
}

// testOnly is what only _test.go files may import, on top of thirdParty.
var testOnly = []string{
	"github.com/google/go-cmp",
	"github.com/rogpeppe/go-internal",
	"pgregory.net/rapid",
	"testing",
}

// topLevel is the fixed top of the tree.
var topLevel = []string{
	".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "analysis", "cmd", "docs",
	"eval", "formats", "go.mod", "go.sum", "kernels", "masks", "testdata", "train",
}

// bannedNames say nothing about what a package is for.
var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "pkg", "misc", "internal", "old", "v2"}

// maxLines is where a file that nobody generated has to be split.
const maxLines = 600

// violations returns every breach of the rules in the tree, as "path: what".
func violations(tree fs.FS) ([]string, error) {
	c := &checker{}
	if err := c.checkTop(tree); err != nil {
		return nil, err
	}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			// The go command ignores these: nested generators, tools, fixtures.
			if name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
				return fs.SkipDir
			}
			if slices.Contains(bannedNames, base) {
				c.add(name, "directory %q says nothing about its purpose", base)
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		return c.checkFile(name, src)
	})
	return c.found, err
}

type checker struct{ found []string }

func (c *checker) add(name, format string, args ...any) {
	c.found = append(c.found, name+": "+fmt.Sprintf(format, args...))
}

// checkTop compares the entries of the root with topLevel. What .gitignore
// names at the root, one plain pattern a line, is not part of the tree.
func (c *checker) checkTop(tree fs.FS) error {
	ignored := []string{".git"}
	if text, err := fs.ReadFile(tree, ".gitignore"); err == nil {
		for line := range strings.Lines(string(text)) {
			if p, ok := strings.CutPrefix(strings.TrimSpace(line), "/"); ok {
				ignored = append(ignored, strings.TrimSuffix(p, "/"))
			}
		}
	}
	entries, err := fs.ReadDir(tree, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		skip := slices.ContainsFunc(ignored, func(p string) bool {
			ok, _ := path.Match(p, name)
			return ok
		})
		if !skip && !slices.Contains(topLevel, name) {
			c.add(name, "is not part of the fixed top level")
		}
	}
	return nil
}

func (c *checker) checkFile(name string, src []byte) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	if lines := strings.Count(string(src), "\n"); lines > maxLines && !ast.IsGenerated(file) {
		c.add(name, "is %d lines long, limit %d", lines, maxLines)
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if spec.Name != nil && spec.Name.Name == "." {
			c.add(name, "dot import of %q", imported)
		}
		c.checkImport(name, file.Name.Name, imported)
	}
	c.checkCode(name, file)
	return nil
}

// within reports whether an import path or directory is tree or below it.
func within(p, tree string) bool {
	return p == tree || strings.HasPrefix(p, tree+"/")
}

// layerOf returns the row of layers with the longest tree that holds dir.
func layerOf(dir string) *layer {
	var best *layer
	for i := range layers {
		if within(dir, layers[i].tree) && (best == nil || len(layers[i].tree) > len(best.tree)) {
			best = &layers[i]
		}
	}
	return best
}

func (c *checker) checkImport(name, pkg, imported string) {
	dir := path.Dir(name)
	own := layerOf(dir)
	if own == nil {
		c.add(name, "is in no layer")
		return
	}
	test := strings.HasSuffix(name, "_test.go")
	if to, ok := strings.CutPrefix(imported, module); ok {
		target := layerOf(to)
		allowed := target == own || target != nil && slices.Contains(own.module, target.tree)
		if !allowed && test && strings.HasSuffix(pkg, "_test") {
			allowed = target != nil && slices.Contains(own.beside, target.tree)
		}
		if !allowed {
			c.add(name, "layer %s imports %s", own.tree, to)
		}
		return
	}
	if imported == "C" {
		c.add(name, "uses cgo")
		return
	}
	if slices.ContainsFunc(testOnly, func(m string) bool { return within(imported, m) }) {
		if !test {
			c.add(name, "imports %s outside a test", imported)
		}
		return
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		if within(imported, "log") && own.tree != "cmd/spdfctl" {
			c.add(name, "logs from a library (%s)", imported)
		}
		return
	}
	for prefix, tree := range thirdParty {
		if !within(imported, prefix) {
			continue
		}
		// A test may compare with any library that the product uses.
		if tree != "" && !within(dir, tree) && !test {
			c.add(name, "imports %s, which belongs to %s", imported, tree)
		} else if own.others != nil && !slices.Contains(own.others, prefix) && !test {
			c.add(name, "layer %s imports %s", own.tree, imported)
		}
		return
	}
	c.add(name, "imports %s, which is not a dependency of this project", imported)
}

// checkCode looks for init functions outside kernels and for exits outside main.
func (c *checker) checkCode(name string, file *ast.File) {
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if ok && fn.Recv == nil && fn.Name.Name == "init" && !within(path.Dir(name), "kernels") {
			c.add(name, "has an init function")
		}
		if ok && fn.Recv == nil && fn.Name.Name == "main" && name == "cmd/spdfctl/main.go" {
			continue
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if ok && sel.Sel.Name == "Exit" && (x.Name == "os" || x.Name == "syscall" || x.Name == "unix" || x.Name == "windows") {
				c.add(name, "calls %s.Exit outside main", x.Name)
			}
			return true
		})
	}
}

func TestLayersAndTree(t *testing.T) {
	found, err := violations(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

// TestCheckerCatchesViolations plants one breach at a time in a clean tree.
func TestCheckerCatchesViolations(t *testing.T) {
	clean := map[string]string{
		".gitignore":                "/spdfctl\n/*.prof\n",
		"README.md":                 "",
		"spdfctl":                   "binary that .gitignore names",
		"cpu.prof":                  "",
		"cmd/spdfctl/main.go":       "package main\nimport \"os\"\nfunc main() { os.Exit(0) }",
		"kernels/k.go":              "package kernels\nimport \"golang.org/x/sys/cpu\"\nfunc init() { _ = cpu.X86 }",
		"kernels/_gen/main.go":      "package main\nimport \"os\"\nfunc init() { os.Exit(1) }",
		"masks/testdata/bad.go":     "not Go",
		"formats/bpe/bpe.go":        "package bpe\nimport _ \"" + module + "masks\"\nimport _ \"" + module + "formats\"",
		"train/gpt/gpt_test.go":     "package gpt_test\nimport _ \"" + module + "train/optim\"\nimport _ \"testing\"",
		"train/train.go":            "package train\nimport _ \"" + module + "train/gpt\"",
		"cmd/spdfctl/generated.go":  "// Code generated by a test. DO NOT EDIT.\n\npackage main\n" + strings.Repeat("\n", maxLines),
		"cmd/spdfctl/cmd_mask.go":   "package main\nimport _ \"github.com/spf13/cobra\"\nimport _ \"log/slog\"",
		"analysis/analysis_test.go": "package analysis\nimport _ \"github.com/google/go-cmp/cmp\"",
	}
	tree := func(extra map[string]string) fs.FS {
		m := fstest.MapFS{}
		for name, text := range clean {
			m[name] = &fstest.MapFile{Data: []byte(text)}
		}
		for name, text := range extra {
			m[name] = &fstest.MapFile{Data: []byte(text)}
		}
		return m
	}
	if found, err := violations(tree(nil)); err != nil || len(found) > 0 {
		t.Fatalf("clean tree: %q, %v", found, err)
	}
	for _, tc := range []struct{ name, file, src, want string }{
		{"kernels import masks", "kernels/bad.go", "package kernels\nimport _ \"" + module + "masks\"", "kernels/bad.go: layer kernels imports masks"},
		{"formats import kernels", "formats/npz/bad.go", "package npz\nimport _ \"" + module + "kernels\"", "formats/npz/bad.go: layer formats imports kernels"},
		{"sibling in the product", "train/gpt/bad.go", "package gpt\nimport _ \"" + module + "train/optim\"", "train/gpt/bad.go: layer train/gpt imports train/optim"},
		{"sibling in an internal test", "train/gpt/bad_test.go", "package gpt\nimport _ \"" + module + "train/optim\"", "train/gpt/bad_test.go: layer train/gpt imports train/optim"},
		{"upward in an external test", "train/gpt/bad_test.go", "package gpt_test\nimport _ \"" + module + "train\"", "train/gpt/bad_test.go: layer train/gpt imports train"},
		{"layer 3 imports layer 3", "eval/bad.go", "package eval\nimport _ \"" + module + "analysis\"", "eval/bad.go: layer eval imports analysis"},
		{"analysis imports kernels", "analysis/bad.go", "package analysis\nimport _ \"" + module + "kernels\"", "analysis/bad.go: layer analysis imports kernels"},
		{"no layer", "docs/bad.go", "package docs\nimport _ \"io\"", "docs/bad.go: is in no layer"},
		{"cgo", "kernels/bad.go", "package kernels\nimport \"C\"", "kernels/bad.go: uses cgo"},
		{"unknown module", "eval/bad.go", "package eval\nimport _ \"github.com/stretchr/testify/assert\"", "eval/bad.go: imports github.com/stretchr/testify/assert, which is not a dependency of this project"},
		{"module of another tree", "eval/bad.go", "package eval\nimport _ \"github.com/spf13/cobra\"", "eval/bad.go: imports github.com/spf13/cobra, which belongs to cmd/spdfctl"},
		{"module in a bare layer", "masks/bad.go", "package masks\nimport _ \"golang.org/x/sys/cpu\"", "masks/bad.go: layer masks imports golang.org/x/sys/cpu"},
		{"test library in the product", "masks/bad.go", "package masks\nimport _ \"testing\"", "masks/bad.go: imports testing outside a test"},
		{"dot import", "masks/bad.go", "package masks\nimport . \"math\"", "masks/bad.go: dot import of \"math\""},
		{"logging library", "train/bad.go", "package train\nimport _ \"log/slog\"", "train/bad.go: logs from a library (log/slog)"},
		{"init", "formats/bad.go", "package formats\nfunc init() {}", "formats/bad.go: has an init function"},
		{"exit", "cmd/spdfctl/bad.go", "package main\nimport \"os\"\nfunc f() { os.Exit(1) }", "cmd/spdfctl/bad.go: calls os.Exit outside main"},
		{"length", "masks/bad.go", "package masks\n" + strings.Repeat("\n", maxLines), fmt.Sprintf("masks/bad.go: is %d lines long, limit %d", maxLines+1, maxLines)},
		{"top level", "pkg.txt", "", "pkg.txt: is not part of the fixed top level"},
		{"name", "formats/util/u.go", "package util", "formats/util: directory \"util\" says nothing about its purpose"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			found, err := violations(tree(map[string]string{tc.file: tc.src}))
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != 1 || found[0] != tc.want {
				t.Errorf("got %q, want %q", found, tc.want)
			}
		})
	}
}
