package maskfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/masks"
)

// Read reads a mask file and recomputes every count and hash.
//
// It returns a *FormatError for a file that is no mask file, a *MismatchError
// for one whose content is not what it says, an error that wraps
// ErrUnsupported for another version of the format, and the error of the file
// system, with fs.ErrNotExist in it, for one that cannot be opened.
func Read(path string) (*masks.Set, error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, openError(path, err)
	}
	defer f.Close()
	d, err := readDocument(path, f.Metadata())
	if err != nil {
		return nil, err
	}
	return readMasks(path, f, d)
}

// openError says what kept path from being opened, without naming it twice.
func openError(path string, err error) error {
	var (
		system *fs.PathError
		format *safetensors.FormatError
	)
	switch {
	case errors.As(err, &system):
		return fmt.Errorf("maskfile: %w", system)
	case errors.As(err, &format):
		return &FormatError{File: path, Tensor: format.Tensor, Err: fmt.Errorf("safetensors: %w", format.Err)}
	}
	return fmt.Errorf("maskfile: %w", err)
}

// readDocument checks the metadata and returns their JSON object.
func readDocument(path string, metadata map[string]string) (*document, error) {
	bad := func(format string, args ...any) error {
		return &FormatError{File: path, Err: fmt.Errorf(format, args...)}
	}
	name, isMask := metadata[formatKey]
	if !isMask {
		return nil, bad("metadata lack %q, this is no mask file", formatKey)
	}
	version, isMask := strings.CutPrefix(name, formatName+"-")
	if !isMask {
		return nil, bad("%s is %.40q, want %q", formatKey, name, formatName+"-"+strconv.Itoa(FormatVersion))
	}
	if version != strconv.Itoa(FormatVersion) {
		return nil, fmt.Errorf("maskfile: %s: version is %.40q, only %d is known: %w", path, version, FormatVersion, ErrUnsupported)
	}
	if order := metadata[bitOrderKey]; order != bitOrderName {
		return nil, fmt.Errorf("maskfile: %s: %s is %.40q, only %q is known: %w", path, bitOrderKey, order, bitOrderName, ErrUnsupported)
	}
	text, ok := metadata[documentKey]
	if !ok {
		return nil, bad("metadata lack %q", documentKey)
	}
	if len(text) > maxDocument {
		return nil, bad("metadata are %d bytes, limit %d", len(text), maxDocument)
	}
	if storage, ok := metadata[storageKey]; ok && storage != proceduralName {
		return nil, fmt.Errorf("maskfile: %s: %s is %.40q, only %q is known: %w", path, storageKey, storage, proceduralName, ErrUnsupported)
	}
	for key := range metadata {
		switch key {
		case formatKey, bitOrderKey, documentKey, digestKey, storageKey:
		default:
			if strings.HasPrefix(key, "spdf.") {
				return nil, bad("metadata have the unknown key %.40q", key)
			}
		}
	}
	// The hash comes before the grammar: a damaged byte is damage, not a
	// syntax error.
	sum := sha256.Sum256([]byte(text))
	if got := hex.EncodeToString(sum[:]); got != metadata[digestKey] {
		return nil, &MismatchError{File: path, What: "SHA-256 of " + documentKey, Got: got, Want: fmt.Sprintf("%.64q", metadata[digestKey])}
	}
	d, err := parseDocument([]byte(text))
	if err != nil {
		return nil, &FormatError{File: path, Err: err}
	}
	if d.FormatVersion != FormatVersion {
		return nil, bad("format_version is %d, %s is %q", d.FormatVersion, formatKey, name)
	}
	return d, nil
}

// readMasks reads the masks that d describes and compares the two.
func readMasks(path string, f *safetensors.File, d *document) (*masks.Set, error) {
	seed, err := strconv.ParseUint(d.Seed, 10, 64)
	if err != nil || strconv.FormatUint(seed, 10) != d.Seed {
		return nil, &FormatError{File: path, Err: fmt.Errorf("seed is %.40q, want a whole number below 2^64", d.Seed)}
	}
	recipe := masks.Recipe{
		Method:       d.Method,
		Distribution: d.Distribution,
		Pattern:      d.Pattern,
		Scope:        d.Scope,
		Sparsity:     d.Sparsity,
		Compat:       d.Compat,
		Generator:    d.Generator,
		Seed:         seed,
		Parent:       d.ParentSHA256,
	}
	_, procedural := f.Metadata()[storageKey]
	want := len(d.Tensors)
	if procedural {
		want = 0
		if n := proceduralBytes(d.Tensors); n > maxProcedural {
			return nil, &FormatError{File: path, Err: fmt.Errorf("masks of %d bytes are to be made, limit %d", n, int64(maxProcedural))}
		}
	}
	if infos := f.Infos(); len(infos) != want {
		return nil, &FormatError{File: path, Err: fmt.Errorf("%d tensors, the metadata describe %d", len(infos), want)}
	}
	list := make([]*masks.Mask, len(d.Tensors))
	kept, total := 0, 0
	for i, e := range d.Tensors {
		m, err := readMask(path, f, e, recipe, procedural)
		if err != nil {
			return nil, err
		}
		list[i] = m
		kept += e.Kept
		total += m.Total()
	}
	for _, c := range []struct {
		what      string
		got, want int
	}{{"kept", kept, d.Kept}, {"total", total, d.Total}} {
		if c.got != c.want {
			return nil, &MismatchError{File: path, What: c.what, Got: strconv.Itoa(c.got), Want: strconv.Itoa(c.want)}
		}
	}
	s, err := masks.NewSet(list, recipe, d.Parameters)
	if err != nil {
		return nil, &FormatError{File: path, Err: err}
	}
	if got := realised(kept, total); got != d.RealisedSparsity {
		return nil, &MismatchError{File: path, What: "realised_sparsity", Got: fmt.Sprint(got), Want: fmt.Sprint(d.RealisedSparsity)}
	}
	return s, nil
}

// readMask reads the mask of one entry.
func readMask(path string, f *safetensors.File, e entry, recipe masks.Recipe, procedural bool) (*masks.Mask, error) {
	target := masks.Target{Name: e.Name, Part: e.Part, Out: e.Shape[0], In: e.Shape[1]}
	if err := target.Check(); err != nil {
		return nil, &FormatError{File: path, Err: err}
	}
	key := target.Key()
	bad := func(format string, args ...any) error {
		return &FormatError{File: path, Tensor: key, Err: fmt.Errorf(format, args...)}
	}
	if procedural {
		if err := checkDigest(e.SHA256); err != nil {
			return nil, bad("%w", err)
		}
		m, err := recipe.Make(target, e.Kept)
		if err != nil {
			return nil, &FormatError{File: path, Tensor: key, Err: err}
		}
		return m, compare(path, m, e)
	}
	info, ok := f.Lookup(key)
	if !ok {
		return nil, bad("tensor is missing")
	}
	m := &masks.Mask{Name: e.Name, Part: e.Part, Out: e.Shape[0], In: e.Shape[1]}
	if want := (formats.Info{DType: formats.U8, Shape: []int{m.Out, m.Stride()}}); info.DType != want.DType || len(info.Shape) != 2 ||
		info.Shape[0] != want.Shape[0] || info.Shape[1] != want.Shape[1] {
		return nil, bad("tensor is %s, (%d, %d) needs %s", info, m.Out, m.In, want)
	}
	t, err := f.Tensor(key)
	if err != nil {
		return nil, fmt.Errorf("maskfile: %w", err)
	}
	// The header has been checked against the size of the file, so this many
	// bytes are there.
	bits := bytes.NewBuffer(make([]byte, 0, m.Out*m.Stride()))
	if err := t.WriteTo(bits); err != nil {
		return nil, fmt.Errorf("maskfile: %w", err)
	}
	m.Bits = bits.Bytes()
	return m, compare(path, m, e)
}

// compare makes sure that m is what its entry says.
func compare(path string, m *masks.Mask, e entry) error {
	differs := func(what, got, want string) error {
		return &MismatchError{File: path, Tensor: m.Key(), What: what, Got: got, Want: want}
	}
	if i := m.PaddingRow(); i >= 0 {
		return differs(fmt.Sprintf("padding of row %d", i), "not zero", "zero")
	}
	sum := m.SHA256()
	if got := hex.EncodeToString(sum[:]); got != e.SHA256 {
		return differs("SHA-256", got, fmt.Sprintf("%.64s", e.SHA256))
	}
	if got := m.Kept(); got != e.Kept {
		return differs("kept", strconv.Itoa(got), strconv.Itoa(e.Kept))
	}
	return nil
}

// maxProcedural bounds the bits that a file without them can ask for: 2^40
// weights.
const maxProcedural = 128 << 30

// proceduralBytes sums up the bits of the masks.
func proceduralBytes(list []entry) int64 {
	n := int64(0)
	for _, e := range list {
		if t := (masks.Target{Name: e.Name, Part: e.Part, Out: e.Shape[0], In: e.Shape[1]}); t.Check() == nil {
			n += int64(t.Out) * int64((t.In+7)/8)
		}
		if n > maxProcedural {
			break
		}
	}
	return n
}

// checkDigest looks at a SHA-256 before the work of comparing it is done.
func checkDigest(text string) error {
	if sum, err := hex.DecodeString(text); err != nil || len(sum) != sha256.Size {
		return fmt.Errorf("%.64q is no SHA-256", text)
	}
	return nil
}
