package stored

import (
	"archive/zip"
	"cmp"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"strconv"
)

// ErrUnsupported is wrapped by errors of OpenZip about zip files that are well
// formed but cannot be used here.
var ErrUnsupported = errors.New("not supported")

const (
	// maxDirectory bounds the directory of a zip file, of which archive/zip
	// makes about five times as much memory. An entry has 46 bytes and a name.
	maxDirectory = 48 << 20
	// maxInflation is the most that deflate can make of one byte: 258 bytes of
	// two bits.
	maxInflation = 1032

	flagEncrypted = 1
)

// Member is a file in a zip file.
type Member struct {
	Name string
	Size int64 // of the content

	file   *File
	method uint16
	begin  int64 // of the data in the file
	packed int64 // their size
	crc    uint32
}

// Zip is the members of a zip file, in the order of its directory.
type Zip struct {
	Members []Member
	Comment string
}

// OpenZip reads the directory of a zip file and checks that its members have
// different names, are stored or deflated and not encrypted, and lie inside the
// file and not over each other. CRCs are not looked at, see CheckSums.
func OpenZip(f *File) (Zip, error) {
	bounded := &boundedReaderAt{f, maxDirectory}
	r, err := zip.NewReader(bounded, f.Size())
	if err != nil {
		return Zip{}, err
	}
	bounded.left = math.MaxInt64 // the bound was for the directory
	z := Zip{Members: make([]Member, 0, len(r.File)), Comment: r.Comment}
	seen := make(map[string]bool, len(r.File))
	for _, entry := range r.File {
		if seen[entry.Name] {
			return Zip{}, fmt.Errorf("member %s occurs twice", quoted(entry.Name))
		}
		seen[entry.Name] = true
		m, err := newMember(f, entry)
		if err != nil {
			return Zip{}, fmt.Errorf("member %s %w", quoted(entry.Name), err)
		}
		z.Members = append(z.Members, m)
	}
	places := slices.Clone(z.Members)
	slices.SortFunc(places, func(a, b Member) int { return cmp.Compare(a.begin, b.begin) })
	for i := 1; i < len(places); i++ {
		if before := places[i-1]; places[i].begin < before.begin+before.packed {
			return Zip{}, fmt.Errorf("members %s and %s overlap at byte %d", quoted(before.Name), quoted(places[i].Name), places[i].begin)
		}
	}
	return z, nil
}

// quoted writes a name that a file chose, cut short.
func quoted(name string) string {
	const limit = 120
	if len(name) > limit {
		return strconv.QuoteToASCII(name[:limit]) + "..."
	}
	return strconv.Quote(name)
}

func newMember(f *File, entry *zip.File) (Member, error) {
	if entry.Flags&flagEncrypted != 0 {
		return Member{}, fmt.Errorf("is encrypted: %w", ErrUnsupported)
	}
	begin, err := entry.DataOffset()
	if err != nil {
		return Member{}, fmt.Errorf("has no header: %w", err)
	}
	size, packed := entry.UncompressedSize64, entry.CompressedSize64
	if packed > math.MaxInt64 || begin > f.Size() || int64(packed) > f.Size()-begin {
		return Member{}, fmt.Errorf("has %d bytes from byte %d on, the file has %d", packed, begin, f.Size())
	}
	switch entry.Method {
	case zip.Store:
		if size != packed {
			return Member{}, fmt.Errorf("is stored, but has %d bytes and %d in the file", size, packed)
		}
	case zip.Deflate:
		if size > math.MaxInt64 || size/maxInflation > packed {
			return Member{}, fmt.Errorf("has %d bytes, which %d deflated ones cannot hold", size, packed)
		}
	default:
		return Member{}, fmt.Errorf("is compressed by method %d, known are 0 (stored) and 8 (deflated): %w", entry.Method, ErrUnsupported)
	}
	return Member{Name: entry.Name, Size: int64(size), file: f, method: entry.Method, begin: begin, packed: int64(packed), crc: entry.CRC32}, nil
}

// boundedReaderAt fails after a number of bytes have been read.
type boundedReaderAt struct {
	r    io.ReaderAt
	left int64
}

func (b *boundedReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, fmt.Errorf("zip directory has more than %d bytes: %w", int64(maxDirectory), ErrUnsupported)
	}
	return b.r.ReadAt(p, off)
}

// Stored returns where in the file the content lies as it is; ok is false if it
// is deflated.
func (m Member) Stored() (offset int64, ok bool) { return m.begin, m.method == zip.Store }

// Read returns a reader of n bytes of the content from byte off on.
func (m Member) Read(off, n int64) (io.Reader, error) {
	if off < 0 || n < 0 || off > m.Size || n > m.Size-off {
		return nil, fmt.Errorf("member %s has %d bytes, %d from byte %d on are wanted", quoted(m.Name), m.Size, n, off)
	}
	if m.method == zip.Store {
		return io.NewSectionReader(m.file, m.begin+off, n), nil
	}
	inflated := flate.NewReader(io.NewSectionReader(m.file, m.begin, m.packed))
	if _, err := io.CopyN(io.Discard, inflated, off); err != nil {
		return nil, fmt.Errorf("member %s: %w", quoted(m.Name), short(err))
	}
	return io.LimitReader(inflated, n), nil
}

// Load returns the content, which may have at most limit bytes.
func (m Member) Load(limit int64) ([]byte, error) {
	if m.Size > limit {
		return nil, fmt.Errorf("member %s has %d bytes, limit %d: %w", quoted(m.Name), m.Size, limit, ErrUnsupported)
	}
	r, err := m.Read(0, m.Size)
	if err != nil {
		return nil, err
	}
	data := make([]byte, m.Size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("member %s: %w", quoted(m.Name), short(err))
	}
	return data, nil
}

// CheckSums reads all members and compares their CRC-32 with the directory. PyTorch
// can write files without them: one in which no member with content has the right
// one is taken as such, and is no error.
func (z Zip) CheckSums() error {
	var wrong error
	right := false
	for _, m := range z.Members {
		r, err := m.Read(0, m.Size)
		if err != nil {
			return err
		}
		sum := crc32.NewIEEE()
		if n, err := io.CopyBuffer(struct{ io.Writer }{sum}, r, make([]byte, min(copyBuffer, m.Size+1))); err != nil || n < m.Size {
			return fmt.Errorf("member %s: %w", quoted(m.Name), short(cmp.Or(err, io.ErrUnexpectedEOF)))
		}
		switch {
		case sum.Sum32() == m.crc:
			right = right || m.Size > 0
		case wrong == nil:
			wrong = fmt.Errorf("member %s has the CRC-32 %08x, the directory says %08x", quoted(m.Name), sum.Sum32(), m.crc)
		}
	}
	if right {
		return wrong
	}
	return nil
}
