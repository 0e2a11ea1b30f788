package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"math/big"
	"strings"
	"unicode/utf8"
)

// Forms of a table, the values of --format.
const (
	formatTable    = "table"
	formatCSV      = "csv"
	formatMarkdown = "markdown"
	formatJSON     = "json"
)

// checkFormat validates --format; the global --json means the same as json.
func (a *app) checkFormat(command string, format *string) error {
	if a.json {
		*format = formatJSON
	}
	switch *format {
	case formatTable, formatCSV, formatMarkdown, formatJSON:
		return nil
	}
	return usageErrorf("%s: --format %q is none of table, csv, markdown, json", command, *format)
}

// printLines writes lines of cells as a table, as CSV or as Markdown; the first
// line is the heading.
func printLines(out io.Writer, format string, lines [][]string) error {
	switch format {
	case formatCSV:
		return csv.NewWriter(out).WriteAll(lines)
	case formatMarkdown:
		return printMarkdown(out, lines)
	}
	return printColumns(out, lines)
}

// printMarkdown writes lines as a table of GitHub's Markdown.
func printMarkdown(out io.Writer, lines [][]string) error {
	var b strings.Builder
	width := len(lines[0])
	for i, line := range lines {
		for j := range width {
			cell := ""
			if j < len(line) {
				cell = strings.ReplaceAll(strings.TrimSpace(line[j]), "|", "\\|")
			}
			fmt.Fprintf(&b, "| %s ", cell)
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString("|---|" + strings.Repeat("---:|", width-1) + "\n")
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// printColumns writes lines of cells, the first column to the left, the others
// to the right. A line may be shorter than another.
func printColumns(out io.Writer, lines [][]string) error {
	const gap = 3
	var widths []int
	for _, line := range lines {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&b, "%-*s", widths[0], line[0])
		for i, cell := range line[1:] {
			fmt.Fprintf(&b, "%*s", widths[i+1]+gap, cell)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// shortFLOPs formats a count to so many digits: "2.426e18".
func shortFLOPs(x *big.Int, digits int) string {
	if x.IsInt64() && x.Int64() < 10000 {
		return x.String()
	}
	mantissa, exp, _ := strings.Cut(new(big.Float).SetInt(x).Text('e', digits-1), "e+")
	return mantissa + "e" + strings.TrimLeft(exp, "0")
}

// shortCount formats a count as it may be typed: "2.5B", "124.4M".
func shortCount(n int64) string {
	for _, u := range []struct {
		size   float64
		suffix string
	}{{1e12, "T"}, {1e9, "B"}, {1e6, "M"}} {
		if f := float64(n); f >= u.size {
			return fmt.Sprintf("%.4g%s", f/u.size, u.suffix)
		}
	}
	return fmt.Sprint(n)
}

// shortBytes formats a size in binary units: "1.5 GiB".
func shortBytes(n int64) string {
	for _, u := range []struct {
		size   float64
		suffix string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if f := float64(n); f >= u.size {
			return fmt.Sprintf("%.4g %s", f/u.size, u.suffix)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// flopRatio returns a / b.
func flopRatio(a, b *big.Int) float64 {
	f, _ := new(big.Rat).SetFrac(a, b).Float64()
	return f
}
