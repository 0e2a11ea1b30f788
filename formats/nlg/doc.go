// Package nlg reads data-to-text sets and the plain text that is scored against
// them.
//
// Data sets, one Example per record:
//
//   - E2E CSV (ReadE2E): RFC 4180 with the header mr,ref or MR, in UTF-8;
//   - WebNLG (ReadWebNLG, ReadWebNLGJSON) and DART (ReadDART, ReadDARTXML);
//   - SciTLDR (ReadSciTLDR);
//   - JSON Lines (ReadJSONL): {"prompt": …, "completion": …} or
//     {"prompt": …, "references": […]};
//   - tables with the columns prompt and completion, as CSV (ReadTable) or Parquet
//     (ReadParquet), which may have the list references.
//
// ReadSet reads any of them, from files, folders and archives, with prompts as
// LoRA's pipeline writes them, and counts what it leaves out. Passages and
// documents for perplexity come from ReadLambada and ReadWikiText.
//
// Text, one segment per line or per block (ReadLines, ReadBlocks, ReadTSV,
// ReadReferencesJSONL).
//
// Limits: a record, line or block has at most MaxRecord bytes and a file at
// most maxFile, counted after decompression, so that a hostile file costs a
// bounded amount of memory. Text that is not UTF-8 is refused. Errors name the
// line, counted from 1.
//
// Deviations from RFC 4180, those of encoding/csv: a carriage return before a
// line feed is dropped inside quoted fields too, and empty lines are ignored.
package nlg

import "fmt"

// MaxRecord is the largest record, line or block in bytes.
const MaxRecord = 1 << 20

// maxFile is the largest file in bytes.
const maxFile = 1 << 30

// Example is one input with the texts that are right for it.
type Example struct {
	Source     string   // a meaning representation or a prompt
	References []string // empty where the set has none
}

// LineError is what is wrong with one line of a file.
type LineError struct {
	Path string // empty if the text did not come from a named file
	Line int    // from 1
	Err  error
}

func (e *LineError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("nlg: line %d: %v", e.Line, e.Err)
	}
	return fmt.Sprintf("nlg: %s: line %d: %v", e.Path, e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *LineError) Unwrap() error { return e.Err }

// Group joins the examples with the same source into one that has all their
// references, in order of first appearance: the rows of a training set become
// the instances of an evaluation set.
func Group(rows []Example) []Example {
	index := make(map[string]int, len(rows))
	var groups []Example
	for _, row := range rows {
		i, ok := index[row.Source]
		if !ok {
			i = len(groups)
			index[row.Source] = i
			groups = append(groups, Example{Source: row.Source})
		}
		groups[i].References = append(groups[i].References, row.References...)
	}
	return groups
}
