package maskfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/masks"
)

// FormatVersion is the version of the format that this package writes, and the
// only one that it reads.
const FormatVersion = 1

// The metadata of a mask file.
const (
	formatKey   = "spdf.format"
	bitOrderKey = "spdf.bit_order"
	documentKey = "spdf.mask"
	storageKey  = "spdf.storage"
	digestKey   = "spdf.mask_sha256"

	formatName   = "spdf-mask"
	bitOrderName = "lsb-first"

	// proceduralName is the value of storageKey in a file without bits.
	proceduralName = "procedural"
)

// maxDocument bounds the JSON of the metadata: 80000 masks at 200 bytes each.
const maxDocument = 16 << 20

// Write writes s to a mask file. The bytes depend on s only. An existing path
// is refused with an error that is fs.ErrExist unless force is set, and nothing
// is left there on an error.
func Write(path string, force bool, s *masks.Set) error {
	return formats.WriteAtomic(path, force, func(w io.Writer) error { return WriteTo(w, s) })
}

// WriteProcedural is Write for a file that holds the recipe and the hashes, but
// no bits: whoever reads it makes the masks again. It returns an error if s
// cannot be made again from its recipe and counts: if it was not random or a
// checkerboard, or was changed since.
func WriteProcedural(path string, force bool, s *masks.Set) error {
	for _, m := range s.Masks {
		again, err := s.Recipe.Make(m.Target(), m.Kept())
		if err != nil {
			return fmt.Errorf("maskfile: %w", err)
		}
		if !again.Equal(m) {
			return fmt.Errorf("maskfile: mask %q is not what its recipe makes: a procedural file cannot hold it", m.Key())
		}
	}
	return formats.WriteAtomic(path, force, func(w io.Writer) error { return writeTo(w, s, true) })
}

// WriteTo writes the bytes of the mask file of s to w.
func WriteTo(w io.Writer, s *masks.Set) error { return writeTo(w, s, false) }

func writeTo(w io.Writer, s *masks.Set, procedural bool) error {
	text, err := documentText(s)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	metadata := map[string]string{
		formatKey:   formatName + "-" + strconv.Itoa(FormatVersion),
		bitOrderKey: bitOrderName,
		documentKey: string(text),
		digestKey:   hex.EncodeToString(sum[:]),
	}
	if procedural {
		metadata[storageKey] = proceduralName
		return safetensors.Write(w, nil, metadata)
	}
	tensors := make([]safetensors.Tensor, len(s.Masks))
	for i, m := range s.Masks {
		tensors[i] = safetensors.Bytes(m.Key(), formats.U8, []int{m.Out, m.Stride()}, m.Bits)
	}
	return safetensors.Write(w, tensors, metadata)
}

// describe returns the metadata of s.
func describe(s *masks.Set) *document {
	r := s.Recipe
	d := &document{
		FormatVersion: FormatVersion,
		Method:        r.Method,
		Distribution:  r.Distribution,
		Pattern:       r.Pattern,
		Scope:         r.Scope,
		Sparsity:      r.Sparsity,
		Compat:        r.Compat,
		Generator:     r.Generator,
		Seed:          strconv.FormatUint(r.Seed, 10),
		ParentSHA256:  r.Parent,
		Parameters:    s.Parameters,
		Tensors:       make([]entry, len(s.Masks)),
	}
	for i, m := range s.Masks {
		sum := m.SHA256()
		d.Tensors[i] = entry{m.Name, m.Part, [2]int{m.Out, m.In}, m.Kept(), hex.EncodeToString(sum[:])}
		d.Kept += d.Tensors[i].Kept
		d.Total += m.Total()
	}
	d.RealisedSparsity = realised(d.Kept, d.Total)
	return d
}

// realised returns the fraction of pruned weights.
func realised(kept, total int) float64 { return float64(total-kept) / float64(total) }
