package safetensors_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats/safetensors"
)

// shard writes a shard of one-element tensors whose value is their first letter.
func shard(t *testing.T, path string, metadata map[string]string, names ...string) {
	t.Helper()
	var tensors []safetensors.Tensor
	for _, name := range names {
		tensors = append(tensors, safetensors.Float32s(name, []int{1}, []float32{float32(name[0])}))
	}
	if err := safetensors.WriteFile(path, false, tensors, metadata); err != nil {
		t.Fatal(err)
	}
}

func index(t *testing.T, weights map[string]string) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 12}, "weight_map": weights})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestOpenShards(t *testing.T) {
	dir := t.TempDir()
	shard(t, filepath.Join(dir, "s2.safetensors"), map[string]string{"format": "pt", "part": "2", "two": "2"}, "a", "c")
	shard(t, filepath.Join(dir, "s1.safetensors"), map[string]string{"format": "pt", "part": "1"}, "b")
	path := filepath.Join(dir, "model.safetensors.index.json")
	text := index(t, map[string]string{"a": "s2.safetensors", "b": "s1.safetensors", "c": "s2.safetensors"})
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, dir} {
		f, err := safetensors.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, info := range f.Infos() {
			value := make([]float32, 1)
			if err := f.ReadFloat32(value, info.Name); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s=%c", info.Name, rune(value[0])))
		}
		if diff := cmp.Diff(got, []string{"b=b", "a=a", "c=c"}); diff != "" {
			t.Errorf("tensors (-got +want):\n%s", diff)
		}
		if diff := cmp.Diff(f.Metadata(), map[string]string{"format": "pt", "two": "2"}); diff != "" {
			t.Errorf("metadata (-got +want):\n%s", diff)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenShardsRejects(t *testing.T) {
	// Beside the index: s1 with a and b, s2 with c, bad which is not
	// safetensors; and up.safetensors, with a, one directory higher.
	const s1, s2 = "s1.safetensors", "s2.safetensors"
	up := func(shard string) string { return index(t, map[string]string{"a": shard}) }
	tests := []struct {
		name, index, want string
	}{
		{"empty", "", "want {"},
		{"not JSON", "{]", "want a key"},
		{"array", "[]", "want {"},
		{"not UTF-8", "{\"\xff\":1}", "not UTF-8"},
		{"nested deeply", `{"metadata":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "nested more than 16 deep"},
		{"bad number", `{"metadata":{"n":1x},"weight_map":{"a":"s1.safetensors"}}`, "invalid character"},
		{"no weight_map", `{"metadata":{}}`, "index has no weight_map"},
		{"weight_map in another case", `{"Weight_Map":{"a":"s1.safetensors"}}`, "index has no weight_map"},
		{"weight_map null", `{"weight_map":null}`, "weight_map is empty"},
		{"weight_map empty", `{"weight_map":{}}`, "weight_map is empty"},
		{"weight_map an array", `{"weight_map":["s1.safetensors"]}`, "weight_map: json"},
		{"shard a number", `{"weight_map":{"a":1}}`, "weight_map: json"},
		{"shard null", `{"weight_map":{"a":null}}`, `shard "": is not the name of a file`},
		{"tensor twice", `{"weight_map":{"a":"s1.safetensors","a":"s1.safetensors"}}`, `key "a" occurs twice`},
		{"weight_map twice", `{"weight_map":{"a":"s1.safetensors"},"weight_map":{"a":"s1.safetensors"}}`, `key "weight_map" occurs twice`},
		{"parent directory", up("../up.safetensors"), "has a path in it"},
		{"parent directory through this one", up("./../up.safetensors"), "has a path in it"},
		{"this directory", up("./" + s1), "has a path in it"},
		{"absolute", up("/etc/hostname"), "has a path in it"},
		{"backslash", up(`..\up.safetensors`), "has a path in it"},
		{"drive", up("c:up.safetensors"), "has a path in it"},
		{"NUL", up("s1.safetensors\x00.txt"), "has a path in it"},
		{"dot", up("."), "is not the name of a file"},
		{"dots", up(".."), "is not the name of a file"},
		{"no name", up(""), "is not the name of a file"},
		{"directory", up("dir"), "dir: not a regular file"},
		{"shard missing", index(t, map[string]string{"a": s1, "b": s1, "c": s2, "d": "s3.safetensors"}), "s3.safetensors: no such file"},
		{"shard malformed", up("bad.safetensors"), "bad.safetensors: file has 3 bytes"},
		{"tensor missing", index(t, map[string]string{"a": s1, "b": s1, "x": s1}), `tensor "x": is not in s1.safetensors, where weight_map has it`},
		{"tensor not named", index(t, map[string]string{"a": s1}), `tensor "b": is in s1.safetensors, not in weight_map`},
		{"tensor in another shard", index(t, map[string]string{"a": s1, "b": s2, "c": s2}), `tensor "b": is in s1.safetensors, weight_map says s2.safetensors`},
		{"tensor in two shards", index(t, map[string]string{"a": s1, "b": s1, "x": "twice.safetensors"}), `twice.safetensors: tensor "b": is in s1.safetensors too`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "model")
			if err := os.MkdirAll(filepath.Join(dir, "dir"), 0o777); err != nil {
				t.Fatal(err)
			}
			shard(t, filepath.Join(parent, "up.safetensors"), nil, "a")
			shard(t, filepath.Join(dir, s1), nil, "a", "b")
			shard(t, filepath.Join(dir, s2), nil, "c")
			shard(t, filepath.Join(dir, "twice.safetensors"), nil, "b", "x")
			for name, content := range map[string]string{"bad.safetensors": "bad", "model.safetensors.index.json": test.index} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			_, err := safetensors.Open(dir)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got error %v, want %q", err, test.want)
			}
			var format *safetensors.FormatError
			if !errors.As(err, &format) && !errors.Is(err, fs.ErrNotExist) && test.name != "directory" {
				t.Errorf("got %T, want a FormatError or fs.ErrNotExist", err)
			}
		})
	}
}
