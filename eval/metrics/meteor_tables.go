package metrics

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spdfctl/spdfctl/formats/nlg"
)

// The stages of METEOR in their order.
const (
	stageExact = iota
	stageStem
	stageSynonym
	stageParaphrase
	meteorStages
)

// meteorStageNames are the names of the stages in METEOR's own options.
var meteorStageNames = [meteorStages]string{"exact", "stem", "synonym", "paraphrase"}

// meteorTables are what METEOR reads from files.
type meteorTables struct {
	functionWords map[string]bool
	prefixes      map[string]bool // true: before numbers only
	bases         map[string][]string
	synsets       map[string][]int32
	paraphrases   *paraphraseTable // nil without the file
}

// meteorFolders are where METEOR's own distribution keeps a file; "" is the folder
// itself.
var meteorFolders = []string{"", "function", "nonbreaking", "synonym", "data", "resources/function", "resources/nonbreaking", "resources/synonym"}

// meteorFile returns the path of a file of METEOR's distribution below dir, packed
// or not. The error is fs.ErrNotExist if there is none.
func meteorFile(dir, name string) (string, error) {
	for _, folder := range meteorFolders {
		for _, ext := range []string{"", ".gz"} {
			path := filepath.Join(dir, filepath.FromSlash(folder), name+ext)
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("metrics: meteor: %s: no file %s or %s.gz there: %w", dir, name, name, fs.ErrNotExist)
}

// meteorLines calls each with every line of a file of METEOR's.
func meteorLines(dir, name string) (path string, lines []string, err error) {
	if path, err = meteorFile(dir, name); err != nil {
		return "", nil, err
	}
	if lines, err = nlg.ReadLinesFile(path); err != nil {
		return "", nil, fmt.Errorf("metrics: meteor: %w", err)
	}
	return path, lines, nil
}

// loadMeteorTables reads the tables below dir. Without stages it takes all whose
// files are there; otherwise a missing file is an error.
func loadMeteorTables(dir string, stages []string) (*meteorTables, [meteorStages]bool, error) {
	var use [meteorStages]bool
	for _, stage := range stages {
		i := slices.Index(meteorStageNames[:], stage)
		if i < 0 {
			return nil, use, fmt.Errorf("metrics: meteor: stage %q is none of %s", stage, strings.Join(meteorStageNames[:], ", "))
		}
		use[i] = true
	}
	// Without a choice a stage whose file is missing does not run.
	optional := func(err error) bool { return len(stages) == 0 && errors.Is(err, fs.ErrNotExist) }
	if len(stages) == 0 {
		use = [meteorStages]bool{true, true, true, true}
	}
	if !use[stageExact] {
		return nil, use, errors.New("metrics: meteor: stage exact is missing, which the others build on")
	}
	t := &meteorTables{functionWords: map[string]bool{}, prefixes: map[string]bool{}}
	_, lines, err := meteorLines(dir, "english.words")
	if err != nil {
		return nil, use, err
	}
	for _, word := range lines {
		t.functionWords[word] = true
	}
	if _, lines, err = meteorLines(dir, "english.prefixes"); err != nil {
		return nil, use, err
	}
	for _, line := range lines {
		if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(f[0], "#") {
			t.prefixes[f[0]] = len(f) > 1 && f[1] == "#NUMERIC_ONLY#"
		}
	}
	if use[stageSynonym] {
		if err := t.loadSynonyms(dir); optional(err) {
			use[stageSynonym] = false
		} else if err != nil {
			return nil, use, err
		}
	}
	if use[stageParaphrase] {
		if t.paraphrases, err = loadParaphrases(dir); optional(err) {
			use[stageParaphrase] = false
		} else if err != nil {
			return nil, use, err
		}
	}
	return t, use, nil
}

// loadSynonyms reads the files of the synonym stage: pairs of lines, a base with
// its irregular forms, and a word with the numbers of its synonym sets.
func (t *meteorTables) loadSynonyms(dir string) error {
	path, lines, err := meteorLines(dir, "english.exceptions")
	if err != nil {
		return err
	}
	if len(lines)%2 != 0 {
		return fmt.Errorf("metrics: meteor: %s: line %d: a base without forms", path, len(lines))
	}
	t.bases = make(map[string][]string, len(lines)/2)
	for i := 0; i < len(lines); i += 2 {
		for _, form := range strings.Fields(lines[i+1]) {
			t.bases[form] = append(t.bases[form], lines[i])
		}
	}
	if path, lines, err = meteorLines(dir, "english.synsets"); err != nil {
		return err
	}
	if len(lines)%2 != 0 {
		return fmt.Errorf("metrics: meteor: %s: line %d: a word without synonym sets", path, len(lines))
	}
	t.synsets = make(map[string][]int32, len(lines)/2)
	var pool []int32 // one allocation for many short lists
	for i := 0; i < len(lines); i += 2 {
		start := len(pool)
		for number := range strings.FieldsSeq(lines[i+1]) {
			n, err := strconv.ParseInt(number, 10, 32)
			if err != nil {
				return fmt.Errorf("metrics: meteor: %s: line %d: %.20q is not the number of a synonym set", path, i+2, number)
			}
			pool = append(pool, int32(n))
		}
		t.synsets[lines[i]] = pool[start:len(pool):len(pool)]
	}
	return nil
}

// wordSynsets returns the synonym sets of a word and of its base, sorted.
func (t *meteorTables) wordSynsets(word string) []int32 {
	sets := slices.Clone(t.synsets[word])
	if bases, ok := t.bases[word]; ok {
		for _, base := range bases {
			sets = append(sets, t.synsets[base]...)
		}
	} else {
		sets = append(sets, t.synsets[t.base(word)]...)
	}
	slices.Sort(sets)
	return slices.Compact(sets)
}

// inflections are WordNet's rules of detachment: nouns, verbs, adjectives.
var inflections = [][2]string{
	{"s", ""}, {"ses", "s"}, {"xes", "x"}, {"zes", "z"}, {"ches", "ch"}, {"shes", "sh"}, {"men", "man"}, {"ies", "y"},
	{"s", ""}, {"ies", "y"}, {"es", "e"}, {"es", ""}, {"ed", "e"}, {"ed", ""}, {"ing", "e"}, {"ing", ""},
	{"er", ""}, {"est", ""}, {"er", "e"}, {"est", "e"},
}

// base returns the first form without an inflection that is a word of the table,
// or "".
func (t *meteorTables) base(word string) string {
	if strings.HasSuffix(word, "ss") || len([]rune(word)) <= 2 {
		return word
	}
	for _, rule := range inflections {
		if before, ok := strings.CutSuffix(word, rule[0]); ok {
			form := before + rule[1]
			if _, ok := t.synsets[form]; ok {
				if strings.HasSuffix(word, "ful") {
					form += "ful" // as METEOR does, though no rule ends so
				}
				return form
			}
		}
	}
	return ""
}

// paraphraseTable maps phrases to the phrases that mean the same.
type paraphraseTable struct {
	words map[string]int32
	next  map[uint64]int32 // node<<32 | word -> node; node 0 is the root
	emit  map[int32][]int32
	other [][]int32 // by number: the words of the paraphrase
}

// loadParaphrases reads paraphrase-en: triples of lines, a probability, a phrase,
// a paraphrase.
func loadParaphrases(dir string) (*paraphraseTable, error) {
	path, err := meteorFile(dir, "paraphrase-en")
	if err != nil {
		return nil, err
	}
	lines, err := nlg.ReadLinesFile(path)
	if err != nil {
		return nil, fmt.Errorf("metrics: meteor: %w", err)
	}
	if len(lines)%3 != 0 {
		return nil, fmt.Errorf("metrics: meteor: %s: %d lines, which is no multiple of 3", path, len(lines))
	}
	t := &paraphraseTable{words: map[string]int32{}, next: map[uint64]int32{}, emit: map[int32][]int32{}}
	number := func(phrase string) []int32 {
		var out []int32
		for word := range strings.FieldsSeq(phrase) {
			n, ok := t.words[word]
			if !ok {
				n = int32(len(t.words))
				t.words[word] = n
			}
			out = append(out, n)
		}
		return out
	}
	nodes := int32(1)
	for i := 0; i < len(lines); i += 3 {
		node := int32(0)
		for _, word := range number(lines[i+1]) {
			key := uint64(node)<<32 | uint64(word)
			n, ok := t.next[key]
			if !ok {
				n = nodes
				nodes++
				t.next[key] = n
			}
			node = n
		}
		t.emit[node] = append(t.emit[node], int32(len(t.other)))
		t.other = append(t.other, number(lines[i+2]))
	}
	return t, nil
}

// each calls f with the length of every phrase that starts at text[start] and each
// of its paraphrases.
func (t *paraphraseTable) each(text []int32, start int, f func(length int, other []int32)) {
	node := int32(0)
	for i, word := range text[start:] {
		next, ok := t.next[uint64(node)<<32|uint64(uint32(word))]
		if !ok || word < 0 {
			return
		}
		node = next
		for _, e := range t.emit[node] {
			f(i+1, t.other[e])
		}
	}
}
