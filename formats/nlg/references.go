package nlg

import (
	"fmt"
	"slices"
	"strings"
)

// RefFormats lists the formats of ReadReferences.
func RefFormats() []string { return []string{"auto", "lines", "blocks", "tsv", "jsonl", "e2e"} }

// ReadReferences reads the references of n segments from one file:
//
//   - lines: one reference per segment and line, empty ones included;
//   - blocks: a reference per line, blank lines between segments;
//   - tsv: see ReadTSV;
//   - jsonl: see ReadReferencesJSONL;
//   - e2e: see ReadE2E, grouped by meaning representation;
//   - auto: tsv, jsonl or e2e for the extensions .tsv, .jsonl and .csv, and for
//     all others lines if there are n of them, otherwise blocks.
//
// It returns an error if the file has references for another number of
// segments, or a segment has none.
func ReadReferences(path, format string, n int) ([][]string, error) {
	if !slices.Contains(RefFormats(), format) {
		return nil, fmt.Errorf("nlg: reference format %q is none of %s", format, strings.Join(RefFormats(), ", "))
	}
	r, ext, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if format == "auto" {
		switch ext {
		case ".tsv", ".jsonl":
			format = ext[1:]
		case ".csv":
			format = "e2e"
		}
	}
	var segments [][]string
	switch format {
	case "tsv":
		segments, err = ReadTSV(r)
	case "jsonl":
		segments, err = ReadReferencesJSONL(r)
	case "e2e":
		var rows []Example
		rows, err = ReadE2E(r)
		for i, group := range Group(rows) {
			if len(group.References) == 0 {
				return nil, fmt.Errorf("nlg: %s: meaning representation %d has no reference", path, i+1)
			}
			segments = append(segments, group.References)
		}
	default:
		var lines []string
		lines, err = ReadLines(r)
		segments = Blocks(lines)
		switch {
		case err != nil:
		case format == "lines" || format == "auto" && len(lines) == n:
			segments = nil
			for i := range lines {
				segments = append(segments, lines[i:i+1:i+1])
			}
		case format == "auto" && len(segments) != n:
			return nil, fmt.Errorf("nlg: %s: %d lines, or %d blocks between blank lines, for %d segments; %s", path, len(lines), len(segments), n, unmatched(len(lines), n))
		}
	}
	if err != nil {
		return nil, InFile(path, err)
	}
	if len(segments) != n {
		return nil, fmt.Errorf("nlg: %s: references for %d segments, want %d; %s", path, len(segments), n, unmatched(len(segments), n))
	}
	return segments, nil
}

// unmatched names the first line or record of a file without a segment, or the
// first segment without one.
func unmatched(have, want int) string {
	if have > want {
		return fmt.Sprintf("number %d is the first without a text to score", want+1)
	}
	return fmt.Sprintf("text %d is the first without references", have+1)
}

// ReadLinesFile is ReadLines of a file, which may be compressed: see Open.
func ReadLinesFile(path string) ([]string, error) {
	r, _, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	lines, err := ReadLines(r)
	return lines, InFile(path, err)
}
