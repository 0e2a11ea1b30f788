package metrics

// Edit operations that turn a text into a reference.
const (
	editKeep   = byte(' ')
	editSwap   = byte('S')
	editInsert = byte('I') // a word of the text that the reference lacks
	editDelete = byte('D') // a word of the reference that the text lacks
)

// terPair is two texts as numbers of words.
type terPair struct{ hyp, ref []int32 }

// newTerPair numbers the words of two texts.
func newTerPair(hyp, ref []string) terPair {
	ids := make(map[string]int32, len(hyp)+len(ref))
	number := func(words []string) []int32 {
		out := make([]int32, len(words))
		for i, w := range words {
			id, ok := ids[w]
			if !ok {
				id = int32(len(ids))
				ids[w] = id
			}
			out[i] = id
		}
		return out
	}
	return terPair{number(hyp), number(ref)}
}

// terAlignment says, from the operations that align a text with a reference, which
// words of either are wrong and behind which word of the text every word of the
// reference stands.
type terAlignment struct {
	hypWrong, refWrong []bool
	place              []int // by word of the reference; -1: before the first
}

func newTerAlignment(path []byte, hyp, ref int) terAlignment {
	a := terAlignment{make([]bool, hyp), make([]bool, ref), make([]int, ref)}
	h, r := -1, -1
	for _, op := range path {
		if op != editDelete {
			h++
			a.hypWrong[h] = op != editKeep
		}
		if op != editInsert {
			r++
			a.refWrong[r] = op != editKeep
			a.place[r] = h
		}
	}
	return a
}

func anyTrue(list []bool) bool {
	for _, b := range list {
		if b {
			return true
		}
	}
	return false
}

// stops13a splits off full stops, commas and hyphens as tokenize13a does.
func stops13a(line []byte) []byte {
	line = pairs13a(line, func(a, b byte) bool { return !isDigit(a) && isStop(b) }, false)
	line = pairs13a(line, func(a, b byte) bool { return isStop(a) && !isDigit(b) }, true)
	return pairs13a(line, func(a, b byte) bool { return isDigit(a) && b == '-' }, false)
}
