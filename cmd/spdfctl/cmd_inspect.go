package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
)

// readAlways is how many bytes of tensors inspect reads without being asked: a
// tenth of a second's worth.
const readAlways = 256 << 20

func newInspectCmd(a *app) *cobra.Command {
	var hash, sparsity bool
	cmd := &cobra.Command{
		Use:   "inspect CKPT",
		Short: "List the tensors of a checkpoint of any format",
		Long: `Inspect lists name, type, shape, bytes, place and sparsity of every tensor, the
metadata, tensors that are the same one, and what in the file is no tensor.

Sparsity, the share of elements that are zero, takes reading the data: that is done
up to 256 MiB of them, and beyond with --sparsity or --hash. --hash adds the SHA-256
of each tensor's contiguous little-endian bytes.`,
		Example: `  spdfctl inspect model.safetensors
  spdfctl inspect pytorch_model.bin --hash --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inspect(cmd.Context(), args[0], hash, sparsity)
		},
	}
	cmd.Flags().BoolVar(&hash, "hash", false, "the SHA-256 of each tensor")
	cmd.Flags().BoolVar(&sparsity, "sparsity", false, "sparsity, however large the checkpoint is")
	return cmd
}

// inspection is the document of "inspect --json".
type inspection struct {
	Format   string            `json:"format"`
	Metadata map[string]string `json:"metadata"`
	Tensors  []inspectedTensor `json:"tensors"`
	Aliases  [][]string        `json:"aliases"`
	NTensors int               `json:"n_tensors"`
	Bytes    int64             `json:"bytes"`
	Values   []inspectedValue  `json:"values"`  // what is no tensor
	Refused  []convert.Refusal `json:"refused"` // tensors that cannot be read
}

// inspectedTensor has a null offset where the bytes do not lie in the file as
// they are, and a null sparsity where it was not counted.
type inspectedTensor struct {
	Name     string        `json:"name"`
	DType    formats.DType `json:"dtype"`
	Shape    []int         `json:"shape"`
	Bytes    int64         `json:"bytes"`
	Offset   *int64        `json:"offset"`
	File     string        `json:"file"`
	Sparsity *float64      `json:"sparsity"`
	SHA256   string        `json:"sha256,omitempty"`
}

type inspectedValue struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value string `json:"value"`
}

func (a *app) inspect(ctx context.Context, path string, hash, sparsity bool) error {
	c, err := openAny(path, convert.OpenOptions{SkipObjects: true})
	if err != nil {
		return err
	}
	defer c.Close()
	out := inspection{
		Format: c.Format, Metadata: c.Metadata, NTensors: len(c.Tensors), Tensors: []inspectedTensor{},
		Aliases: append([][]string{}, c.Aliases...), Values: []inspectedValue{}, Refused: append([]convert.Refusal{}, c.Refusals...),
	}
	if out.Metadata == nil {
		out.Metadata = map[string]string{}
	}
	for _, l := range c.Leaves {
		out.Values = append(out.Values, inspectedValue{l.Name, l.Type, l.Text})
	}
	for _, t := range c.Tensors {
		out.Bytes += t.Bytes
	}
	read := hash || sparsity || out.Bytes <= readAlways
	bar := a.startProgress("inspect", "bytes", out.Bytes)
	done := int64(0)
	for _, t := range c.Tensors {
		e := inspectedTensor{Name: t.Name, DType: t.DType, Shape: append([]int{}, t.Shape...), Bytes: t.Bytes, File: filepath.Base(t.File)}
		if t.Offset >= 0 {
			e.Offset = &t.Offset
		}
		if read {
			seen, err := convert.Examine(t, hash)
			if err != nil {
				return err
			}
			e.SHA256 = seen.SHA256
			if seen.Elements > 0 || t.Bytes == 0 {
				share := float64(seen.Zeros) / float64(max(seen.Elements, 1))
				e.Sparsity = &share
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			done += t.Bytes
			bar.Set(done, "")
		}
		out.Tensors = append(out.Tensors, e)
	}
	bar.Close()
	if !read {
		a.logf("inspect: %d bytes of data were not read; --sparsity counts zeros", out.Bytes)
	}
	if a.json {
		return a.printJSON(out)
	}
	return a.printInspection(out, hash)
}

func (a *app) printInspection(out inspection, hash bool) error {
	heads := []string{"tensor", "dtype", "shape", "bytes", "sparsity"}
	if hash {
		heads = append(heads, "sha256")
	}
	t := newTable(heads...)
	for _, e := range out.Tensors {
		share := "-"
		if e.Sparsity != nil {
			share = strconv.FormatFloat(*e.Sparsity, 'f', 4, 64)
		}
		cells := []string{visible(e.Name), string(e.DType), shapeText(e.Shape), strconv.FormatInt(e.Bytes, 10), share}
		if hash {
			cells = append(cells, e.SHA256)
		}
		t.add(cells...)
	}
	if err := t.print(a.stdout); err != nil {
		return err
	}
	for _, group := range out.Aliases {
		fmt.Fprintf(a.stdout, "same: %s\n", visible(strings.Join(group, " ")))
	}
	for _, r := range out.Refused {
		fmt.Fprintf(a.stdout, "refused: %s %s\n", visible(r.Name), r.Reason)
	}
	for _, key := range slices.Sorted(maps.Keys(out.Metadata)) {
		fmt.Fprintf(a.stdout, "metadata: %s = %s\n", visible(key), visible(out.Metadata[key]))
	}
	for _, v := range out.Values {
		fmt.Fprintf(a.stdout, "value: %s = %s\n", visible(v.Name), visible(v.Value))
	}
	_, err := fmt.Fprintf(a.stdout, "%s: %d tensors, %d bytes\n", out.Format, out.NTensors, out.Bytes)
	return err
}

// visible quotes a text that a file chose if a terminal would not show it as it
// is, or obey it.
func visible(s string) string {
	if !utf8.ValidString(s) || strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		return strconv.QuoteToGraphic(s)
	}
	return s
}
