package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/formats/torch"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// convertFlags are the flags of convert.
type convertFlags struct {
	to, dtype, arch, layout string
	shardSize               string
	mask, maskOut           string
	rules                   string
	sparse                  string
	dense                   bool
	inverse                 bool
	include, exclude        []string
	heads, kvHeads, vocab   int
	verify, dryRun, force   bool
	skipObjects             bool
}

func newConvertCmd(a *app) *cobra.Command {
	var f convertFlags
	cmd := &cobra.Command{
		Use:   "convert IN OUT",
		Short: "Convert a checkpoint to another format, layout or type",
		Long: `Convert reads a checkpoint of any format (safetensors, single or in shards;
PyTorch, zip, legacy and tar, single or in shards; npz; GGUF; llm.c; Flax) and
writes safetensors, PyTorch, npz, GGUF or llm.c. Nothing in a pickle is executed.
Tensors are streamed: the whole is never in memory.

The format to write comes from --to, or from the name of OUT. OUT is a directory
if it ends in a slash or exists as one, or with --shard-size; it then also gets the
configuration and the tokenizer that lie beside IN.

--layout renames and rearranges the weights of GPT-2 (hf, cerebras, nanogpt, llmc,
gguf) and of the Llama family (hf, gguf); "none" keeps all names. Without it GGUF
and llm.c get their own layout, and what comes from there gets hf. A tensor that no
rule knows is an error; what is dropped is listed. --map takes your own rules.

Masks given with --mask are carried to the new layout and written beside OUT. With
--sparse bitmask only the weights that they keep are written, and moments beside
them: expanding (any later convert) gives the same bytes back.`,
		Example: `  spdfctl convert pytorch_model.bin model.safetensors --verify
  spdfctl convert gpt2/ gpt2-f16.gguf --dtype f16
  spdfctl convert ckpt.pt out/ --layout hf --mask mask.safetensors
  spdfctl convert sparse/ small/ --sparse bitmask --mask mask.safetensors --verify
  spdfctl convert model.safetensors shards/ --shard-size 5GB --dry-run`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.convert(cmd.Context(), args[0], args[1], f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.to, "to", "", "format to write: safetensors, torch, npz, gguf or llmc (default: by the name of OUT)")
	fl.StringVar(&f.dtype, "dtype", "", "cast floats to f64, f32, f16 or bf16")
	fl.StringVar(&f.arch, "arch", "", "architecture, if it cannot be told: gpt2, llama or qwen2")
	fl.StringVar(&f.layout, "layout", "", "layout to write: "+strings.Join(convert.Layouts(""), ", ")+" or none")
	fl.StringVar(&f.shardSize, "shard-size", "", "most bytes of a shard of safetensors, such as 5GB or 512MiB")
	fl.StringVar(&f.mask, "mask", "", "mask file to carry to the new layout")
	fl.StringVar(&f.maskOut, "mask-out", "", "where to write the carried masks (default: beside OUT)")
	fl.StringVar(&f.sparse, "sparse", "", "write only what --mask keeps: bitmask (compressed-tensors' sparse-bitmask)")
	fl.BoolVar(&f.dense, "dense", false, "write every element, also of a sparse checkpoint (the default)")
	fl.StringVar(&f.rules, "map", "", "YAML file with your own rules, instead of a layout")
	fl.BoolVar(&f.inverse, "map-inverse", false, "apply the rules of --map the other way round")
	fl.StringArrayVar(&f.include, "include", nil, "only tensors that match this pattern")
	fl.StringArrayVar(&f.exclude, "exclude", nil, "leave out tensors that match this pattern")
	fl.IntVar(&f.heads, "heads", 0, "number of attention heads, if the checkpoint does not say")
	fl.IntVar(&f.kvHeads, "kv-heads", 0, "number of heads of keys and values, if the checkpoint does not say")
	fl.IntVar(&f.vocab, "vocab-size", 0, "cut or pad the embedding to that many rows")
	fl.BoolVar(&f.verify, "verify", false, "read the result back and compare the SHA-256 of every tensor")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print what would be written, with bytes and memory, and write nothing")
	fl.BoolVar(&f.force, "force", false, "replace what exists")
	fl.BoolVar(&f.skipObjects, "skip-objects", false, "list objects of unknown classes in a pickle instead of refusing it")
	return cmd
}

// convertReport is the document of "convert --json".
type convertReport struct {
	In           string           `json:"in"`
	Out          string           `json:"out"`
	From         string           `json:"from"`
	To           string           `json:"to"`
	LayoutBefore string           `json:"layout_before"`
	Layout       string           `json:"layout"`
	Written      bool             `json:"written"`
	Verified     bool             `json:"verified"`
	NTensors     int              `json:"n_tensors"`
	Bytes        int64            `json:"bytes"`
	Memory       int64            `json:"memory_bytes"`
	MaskFile     string           `json:"mask_file"`
	Tensors      []convertTensor  `json:"tensors"`
	Dropped      []convert.Drop   `json:"dropped"`
	Notes        []string         `json:"notes"`
	Losses       []convert.Loss   `json:"losses"`
	Differences  []verifyMismatch `json:"differences"`
}

type convertTensor struct {
	Name    string        `json:"name"`
	DType   formats.DType `json:"dtype"`
	Shape   []int         `json:"shape"`
	Bytes   int64         `json:"bytes"`
	From    []string      `json:"from"`
	Aliases []string      `json:"aliases"`
}

type verifyMismatch = convert.Difference

func (a *app) convert(ctx context.Context, in, out string, f convertFlags) error {
	o, err := f.options(out)
	if err != nil {
		return err
	}
	c, err := openAny(in, convert.OpenOptions{SkipObjects: f.skipObjects})
	if err != nil {
		return err
	}
	defer c.Close()
	p, err := convert.NewPlan(c, o)
	if err != nil {
		return convertHint(err)
	}
	r := newConvertReport(in, out, p)
	if p.Masks != nil {
		r.MaskFile = f.maskPath(out, p)
	}
	if f.dryRun {
		return a.printPlan(r)
	}
	// Garbage of one large tensor must go before the next is loaded.
	const beside = 160 << 20
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(p.Memory + beside))
	if err := a.writePlan(ctx, p, out, r, f); err != nil {
		return err
	}
	r.Written, r.Losses = true, append(r.Losses, p.Losses()...)
	if f.verify {
		bar := a.startProgress("verify", "bytes", p.Bytes)
		found, err := p.Verify(ctx, out, func(done int64) { bar.Set(done, "") })
		if err != nil {
			return err
		}
		bar.Close()
		r.Differences = append(r.Differences, found...)
		r.Verified = len(found) == 0
	}
	return a.printConverted(r, f.verify)
}

// options reads the flags.
func (f convertFlags) options(out string) (convert.Options, error) {
	o := convert.Options{
		Arch: f.arch, Layout: f.layout, Include: f.include, Exclude: f.exclude, Heads: f.heads, KVHeads: f.kvHeads, Vocab: f.vocab,
	}
	if f.heads < 0 || f.kvHeads < 0 || f.vocab < 0 {
		return o, usageErrorf("convert: --heads, --kv-heads and --vocab-size are not negative")
	}
	var err error
	if o.To, err = targetFormat("convert", f.to, f.layout, out); err != nil {
		return o, err
	}
	if f.dtype != "" {
		types := map[string]formats.DType{"f64": formats.F64, "f32": formats.F32, "f16": formats.F16, "bf16": formats.BF16}
		if o.DType = types[strings.ToLower(f.dtype)]; o.DType == "" {
			return o, usageErrorf("convert: --dtype %q is none of f64, f32, f16 and bf16", f.dtype)
		}
	}
	if f.shardSize != "" {
		if o.ShardSize, err = parseBytes(f.shardSize); err != nil {
			return o, usageErrorf("convert: --shard-size: %w", err)
		}
		if o.ShardSize < 1 {
			return o, usageErrorf("convert: --shard-size is %d bytes", o.ShardSize)
		}
	}
	switch {
	case f.sparse != "" && f.sparse != "bitmask":
		return o, usageErrorf("convert: --sparse %q is not known, only bitmask", f.sparse)
	case f.sparse != "" && (f.dense || f.mask == ""):
		return o, usageErrorf("convert: --sparse needs --mask, and --dense is its opposite")
	case f.sparse != "" && o.To != convert.SafeTensors:
		return o, usageErrorf("convert: --sparse writes safetensors only, not %s", o.To)
	}
	o.Sparse = f.sparse != ""
	if f.inverse && f.rules == "" {
		return o, usageErrorf("convert: --map-inverse needs --map")
	}
	if f.rules != "" {
		if o.Map, err = convert.ReadMap(f.rules); err != nil {
			return o, err
		}
		if f.inverse {
			if o.Map, err = o.Map.Inverse(); err != nil {
				return o, err
			}
		}
	}
	if f.mask != "" {
		if o.Masks, err = readMasks(f.mask); err != nil {
			return o, err
		}
	}
	return o, nil
}

// targetFormat is that of --to, or what the name of the output stands for.
func targetFormat(command, to, layout, out string) (string, error) {
	names := map[string]string{
		"safetensors": convert.SafeTensors, "torch": convert.TorchZip, "pt": convert.TorchZip, "pytorch": convert.TorchZip,
		"npz": convert.Npz, "gguf": convert.GGUF, "llmc": convert.LLMC,
	}
	if to != "" {
		if format, ok := names[strings.ToLower(to)]; ok {
			return format, nil
		}
		return "", usageErrorf("%s: --to %q is none of safetensors, torch, npz, gguf and llmc", command, to)
	}
	switch ext := strings.ToLower(filepath.Ext(strings.TrimRight(out, "/"))); {
	case layout == "llmc":
		return convert.LLMC, nil
	case ext == ".npz" || ext == ".gguf":
		return names[ext[1:]], nil
	case ext == ".pt" || ext == ".pth" || ext == ".bin" || ext == ".ckpt":
		return convert.TorchZip, nil
	case ext == ".safetensors" || strings.HasSuffix(out, "/") || isDir(out) || ext == "":
		return convert.SafeTensors, nil
	}
	return "", withHint(usageErrorf("%s: the name %q does not tell which format to write", command, out), "--to names it")
}

// parseBytes reads a size such as 5GB, 512MiB or 100000.
func parseBytes(s string) (int64, error) {
	upper := strings.ToUpper(strings.TrimSpace(s))
	if n := len(upper); n > 1 && strings.HasSuffix(upper, "B") && strings.ContainsRune("KMGTI", rune(upper[n-2])) {
		return parseCount(upper[:n-1])
	}
	return parseCount(s)
}

// openAny opens a checkpoint of any format, or the newest one of a run
// directory.
func openAny(path string, o convert.OpenOptions) (*convert.Checkpoint, error) {
	c, err := convert.Open(path, o)
	if errors.Is(err, fs.ErrNotExist) && isDir(path) {
		if dir, dirErr := gpt.CheckpointDir(path); dirErr == nil && dir != path {
			c, err = convert.Open(dir, o)
		}
	}
	return c, convertHint(err)
}

// convertHint says what can be done about an error.
func convertHint(err error) error {
	var unsafe *torch.UnsafeError
	if errors.As(err, &unsafe) {
		return withHint(err, "\"spdfctl scan %s\" lists all that it would do; --skip-objects leaves such objects out", unsafe.File)
	}
	return err
}

// maskPath is where the carried masks go: inside a directory, otherwise beside
// the file.
func (f convertFlags) maskPath(out string, p *convert.Plan) string {
	switch {
	case f.maskOut != "":
		return f.maskOut
	case p.Directory(out):
		return filepath.Join(out, convert.MasksFile)
	}
	return strings.TrimSuffix(out, filepath.Ext(out)) + ".masks.safetensors"
}

// writePlan writes the result, and the masks if they do not go into it.
func (a *app) writePlan(ctx context.Context, p *convert.Plan, out string, r *convertReport, f convertFlags) error {
	beside := p.Masks != nil && (!p.Directory(out) || f.maskOut != "")
	if beside && !f.force {
		if _, err := os.Lstat(r.MaskFile); err == nil {
			return withHint(fmt.Errorf("convert: %s: exists", r.MaskFile), "--force replaces it")
		}
	}
	bar := a.startProgress("convert", "bytes", p.StoredBytes())
	defer bar.Close()
	if err := p.Write(ctx, out, f.force, func(done int64) { bar.Set(done, "") }); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return withHint(fmt.Errorf("convert: %s: exists", out), "--force replaces it")
		}
		return err
	}
	if beside {
		return maskfile.Write(r.MaskFile, f.force, p.Masks)
	}
	return nil
}

func newConvertReport(in, out string, p *convert.Plan) *convertReport {
	r := &convertReport{
		In: in, Out: out, From: p.Source.Format, To: p.Options.To, LayoutBefore: p.From, Layout: p.Layout,
		NTensors: len(p.Outputs), Bytes: p.StoredBytes(), Memory: p.Memory, Tensors: []convertTensor{},
		Dropped: append([]convert.Drop{}, p.Drops...), Notes: append([]string{}, p.Notes...),
		Losses: []convert.Loss{}, Differences: []verifyMismatch{},
	}
	for _, o := range p.Outputs {
		r.Tensors = append(r.Tensors, convertTensor{
			o.Name, o.DType, append([]int{}, o.Shape...), o.Bytes, append([]string{}, o.From...), append([]string{}, o.Aliases...),
		})
	}
	return r
}

// printPlan prints what would be written.
func (a *app) printPlan(r *convertReport) error {
	if a.json {
		return a.printJSON(r)
	}
	t := newTable("tensor", "dtype", "shape", "bytes", "from")
	for _, o := range r.Tensors {
		t.add(visible(o.Name), string(o.DType), shapeText(o.Shape), strconv.FormatInt(o.Bytes, 10), visible(strings.Join(o.From, " ")))
	}
	if err := t.print(a.stdout); err != nil {
		return err
	}
	for _, o := range r.Tensors {
		for _, alias := range o.Aliases {
			fmt.Fprintf(a.stdout, "same: %s is %s\n", visible(alias), visible(o.Name))
		}
	}
	for _, d := range r.Dropped {
		fmt.Fprintf(a.stdout, "dropped: %s %s\n", visible(d.Name), d.Reason)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(a.stdout, "note: %s\n", n)
	}
	_, err := fmt.Fprintf(a.stdout, "%d tensors, %d bytes of data, %d bytes of memory for the largest\n", r.NTensors, r.Bytes, r.Memory)
	return err
}

// printConverted reports what has been done. What a cast lost goes to standard
// output, the rest are log lines.
func (a *app) printConverted(r *convertReport, verify bool) error {
	for _, n := range r.Notes {
		a.logf("convert: %s", n)
	}
	a.logDrops("convert", r.Dropped)
	a.logf("convert: %s: %d tensors, %d bytes", r.Out, r.NTensors, r.Bytes)
	if r.MaskFile != "" {
		a.logf("convert: %s: masks", r.MaskFile)
	}
	var err error
	switch {
	case a.json:
		err = a.printJSON(r)
	case len(r.Losses) > 0:
		err = a.printLosses(r.Losses)
	}
	if err != nil || !verify {
		return err
	}
	if len(r.Differences) > 0 {
		d := r.Differences[0]
		return differenceErrorf("convert: %s: %d tensors are not what was written, the first is %q: it %s", r.Out, len(r.Differences), d.Name, d.Reason)
	}
	a.logf("convert: %s: verified", r.Out)
	return nil
}

// logDrops lists what was dropped, by reason.
func (a *app) logDrops(command string, drops []convert.Drop) {
	const few = 5
	var reasons []string
	names := make(map[string][]string)
	for _, d := range drops {
		if names[d.Reason] == nil {
			reasons = append(reasons, d.Reason)
		}
		names[d.Reason] = append(names[d.Reason], visible(d.Name))
	}
	for _, reason := range reasons {
		list := names[reason]
		text := strings.Join(list[:min(few, len(list))], ", ")
		if more := len(list) - few; more > 0 {
			text += fmt.Sprintf(" and %d more (\"convert --dry-run\" lists all)", more)
		}
		a.logf("%s: dropped: %s: %s", command, text, reason)
	}
}

func (a *app) printLosses(losses []convert.Loss) error {
	t := newTable("tensor", "from", "to", "elements", "rounded", "overflowed", "underflowed", "nan", "max abs", "max rel")
	var sum convert.Loss
	for _, l := range losses {
		t.add(visible(l.Name), string(l.From), string(l.To), strconv.FormatInt(l.Elements, 10), strconv.FormatInt(l.Rounded, 10), strconv.FormatInt(l.Overflowed, 10),
			strconv.FormatInt(l.Underflowed, 10), strconv.FormatInt(l.NaNs, 10), fmt.Sprintf("%.3g", l.MaxAbs), fmt.Sprintf("%.3g", l.MaxRel))
		sum.Elements += l.Elements
		sum.Rounded += l.Rounded
		sum.Overflowed += l.Overflowed
		sum.Underflowed += l.Underflowed
		sum.NaNs += l.NaNs
		sum.MaxAbs, sum.MaxRel = max(sum.MaxAbs, l.MaxAbs), max(sum.MaxRel, l.MaxRel)
	}
	t.add("all", "", "", strconv.FormatInt(sum.Elements, 10), strconv.FormatInt(sum.Rounded, 10), strconv.FormatInt(sum.Overflowed, 10),
		strconv.FormatInt(sum.Underflowed, 10), strconv.FormatInt(sum.NaNs, 10), fmt.Sprintf("%.3g", sum.MaxAbs), fmt.Sprintf("%.3g", sum.MaxRel))
	if sum.Overflowed > 0 {
		a.logf("convert: %d finite elements became infinite", sum.Overflowed)
	}
	return t.print(a.stdout)
}

// shapeText writes a shape as errors do.
func shapeText(shape []int) string {
	parts := make([]string, len(shape))
	for i, d := range shape {
		parts[i] = strconv.Itoa(d)
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
