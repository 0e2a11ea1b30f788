package npz

import (
	"fmt"
	"io"
	"strings"

	"github.com/spdfctl/spdfctl/formats/stored"
)

// maxEmbedded bounds a pickle that Pickles returns.
const maxEmbedded = 64 << 20

// Embedded is the pickle that an array of objects is stored as.
type Embedded struct {
	Array string
	Data  []byte // with whatever follows the pickle
}

// Pickles returns the pickles in a .npy or .npz file, which NumPy would load if
// it was told allow_pickle. An array whose header cannot be read is an error.
func Pickles(path string) ([]Embedded, error) {
	source, err := stored.Open(path)
	if err != nil {
		return nil, fmt.Errorf("npz: %w", err)
	}
	defer source.Close()
	head := make([]byte, min(2, source.Size()))
	if err := source.ReadFull(head, 0); err != nil {
		return nil, &FormatError{File: path, Err: err}
	}
	if string(head) != "PK" {
		data, err := embedded(io.NewSectionReader(source, 0, source.Size()), source.Size())
		if err != nil {
			return nil, &FormatError{File: path, Err: err}
		}
		return appendEmbedded(nil, "", data), nil
	}
	z, err := stored.OpenZip(source)
	if err != nil {
		return nil, &FormatError{File: path, Err: err}
	}
	var list []Embedded
	for _, m := range z.Members {
		r, err := m.Read(0, m.Size)
		if err != nil {
			return nil, &FormatError{File: path, Array: m.Name, Err: err}
		}
		data, err := embedded(r, m.Size)
		if err != nil {
			return nil, &FormatError{File: path, Array: m.Name, Err: err}
		}
		list = appendEmbedded(list, m.Name, data)
	}
	return list, nil
}

func appendEmbedded(list []Embedded, name string, data []byte) []Embedded {
	if data == nil {
		return list
	}
	return append(list, Embedded{name, data})
}

// embedded returns what follows the header of an array of objects, nil for other
// arrays. The type may be a structure with objects in it, so it is the text that
// is looked at.
func embedded(r io.Reader, size int64) ([]byte, error) {
	text, err := readText(r, size)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(string(text), "|O'") && !strings.Contains(string(text), `|O"`) && !strings.Contains(string(text), "'O'") {
		return nil, nil
	}
	if size > maxEmbedded {
		return nil, fmt.Errorf("array of Python objects is %d bytes, limit %d: %w", size, maxEmbedded, ErrUnsupported)
	}
	return io.ReadAll(io.LimitReader(r, size))
}
