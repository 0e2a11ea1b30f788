package convert

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spdfctl/spdfctl/formats/gguf"
	"github.com/spdfctl/spdfctl/formats/npz"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/formats/torch"
)

// Scanned is what the pickles in a file would do if Python loaded them.
type Scanned struct {
	File    string
	Format  string // SafeTensors and the others hold no pickles
	Pickles []torch.Pickle
}

// Safe reports whether all pickles are well formed and name only what is on the
// allow-list.
func (s Scanned) Safe() bool {
	for _, p := range s.Pickles {
		if !p.Safe() {
			return false
		}
	}
	return true
}

// Scan looks for pickles in a file of any format, and tells what they would do.
// Nothing is executed. A file of no known format is taken for a pickle.
func Scan(path string) (Scanned, error) {
	f, err := stored.Open(path)
	if err != nil {
		return Scanned{}, fmt.Errorf("convert: %w", err)
	}
	defer f.Close()
	ext := strings.ToLower(filepath.Ext(path))
	s := Scanned{File: path}
	switch {
	case gguf.Sniff(f):
		s.Format = GGUF
		return s, nil
	case ext == ".safetensors":
		// A pickle can be called so: what is no safetensors is scanned.
		if header, err := safetensors.Open(path); err == nil {
			s.Format = SafeTensors
			return s, header.Close()
		}
	case npz.Sniff(f):
		return s, scanNpz(&s, path)
	}
	s.Format = "pickle"
	switch torch.Sniff(f) {
	case torch.Zip:
		s.Format = TorchZip
	case torch.Stream:
		s.Format = TorchLegacy
	case torch.Tar:
		s.Format = TorchTar
	}
	s.Pickles, err = torch.Scan(path)
	return s, err
}

func scanNpz(s *Scanned, path string) error {
	s.Format = Npz
	list, err := npz.Pickles(path)
	if err != nil {
		return err
	}
	for _, e := range list {
		s.Pickles = append(s.Pickles, torch.ScanPickle(bytes.NewReader(e.Data), e.Array, 0, int64(len(e.Data))))
	}
	return nil
}
