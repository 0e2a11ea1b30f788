package bpe

import (
	"iter"
	"slices"
	"strings"
	"sync"
)

// batchBytes is the text that one worker counts at a time.
const batchBytes = 1 << 20

// countedWord is a distinct word of the training text.
type countedWord struct {
	text  string
	count int64
}

// batch is text to count: the stretches between ends are separate texts.
type batch struct {
	text []byte
	ends []int
}

// countWords cuts texts into words and counts them on the given number of
// goroutines. The result is sorted by text, so it does not depend on them.
func countWords(texts iter.Seq[[]byte], threads int) []countedWord {
	var (
		work    = make(chan batch)
		counts  = make([]*wordCounts, threads)
		running sync.WaitGroup
	)
	for i := range counts {
		counts[i] = &wordCounts{index: make(map[string]int)}
		running.Go(func() {
			for b := range work {
				counts[i].add(b)
			}
		})
	}
	var b batch
	for text := range texts {
		for len(text) > 0 {
			piece := text
			if len(piece) > batchBytes {
				piece = cut(piece)
			}
			text = text[len(piece):]
			b.text = append(b.text, piece...)
			b.ends = append(b.ends, len(b.text))
			if len(b.text) >= batchBytes {
				work <- b
				b = batch{}
			}
		}
	}
	work <- b
	close(work)
	running.Wait()
	return joinCounts(counts)
}

// cut returns about batchBytes of text up to a place where it can be cut, or all
// of it if there is none.
func cut(text []byte) []byte {
	for n := batchBytes; n < len(text); n *= 2 {
		if at := LastBoundary(text[:n]); at > 0 {
			return text[:at]
		}
	}
	return text
}

// wordCounts counts words. The count is beside the map so that meeting a known
// word again makes no string of it.
type wordCounts struct {
	index map[string]int
	words []countedWord
}

func (w *wordCounts) add(b batch) {
	c := newClassifier()
	start := 0
	for _, end := range b.ends {
		for text := b.text[start:end]; len(text) > 0; {
			n := c.wordLen(text)
			word := text[:n]
			text = text[n:]
			i, ok := w.index[string(word)]
			if !ok {
				i = len(w.words)
				s := string(word)
				w.index[s] = i
				w.words = append(w.words, countedWord{text: s})
			}
			w.words[i].count++
		}
		start = end
	}
}

func joinCounts(counts []*wordCounts) []countedWord {
	all := counts[0]
	for _, c := range counts[1:] {
		for _, word := range c.words {
			i, ok := all.index[word.text]
			if !ok {
				all.index[word.text] = len(all.words)
				all.words = append(all.words, word)
				continue
			}
			all.words[i].count += word.count
		}
	}
	slices.SortFunc(all.words, func(a, b countedWord) int { return strings.Compare(a.text, b.text) })
	return all.words
}
