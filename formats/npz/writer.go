package npz

import (
	"archive/zip"
	"fmt"
	"io"
	"math"

	"github.com/spdfctl/spdfctl/formats/stored"
)

// WriteZip writes arrays as a .npz file of stored members, in the order that is
// given, with a side record for File.Side if side is not nil. The output
// depends only on the arguments.
//
// BF16 and other types that NumPy does not have are written as raw bytes if
// they have 8 or 16 bits (see Writable); F4 and F6 are ErrUnsupported.
func WriteZip(w io.Writer, tensors []stored.Tensor, side []byte) error {
	z := zip.NewWriter(w)
	if side != nil {
		if err := z.SetComment(sidePrefix + string(side)); err != nil {
			return fmt.Errorf("npz: side record is %d bytes, limit %d", len(side), math.MaxUint16-len(sidePrefix))
		}
	}
	for _, t := range tensors {
		m, err := z.CreateHeader(&zip.FileHeader{Name: t.Name + ".npy", Method: zip.Store})
		if err != nil {
			return fmt.Errorf("npz: array %q: %w", t.Name, err)
		}
		if err := writeArray(m, t); err != nil {
			return err
		}
	}
	return z.Close()
}

// MaxSide is the longest side record that WriteZip takes, in bytes.
const MaxSide = math.MaxUint16 - len(sidePrefix)

// WriteNpy writes one array as a .npy file.
func WriteNpy(w io.Writer, t stored.Tensor) error { return writeArray(w, t) }
