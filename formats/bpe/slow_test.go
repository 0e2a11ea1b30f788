package bpe

import (
	"bytes"
	"iter"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// The slow twins: OpenAI's encoder as it is written, with a regular expression
// for the words and a search of the whole word for every merge, and training
// that counts all pairs anew for every merge.

// wordPattern is OpenAI's without \s+(?!\S), which package regexp cannot express;
// slowWords takes its place. The class of white space is \s of Python's regex.
var wordPattern = regexp.MustCompile(`^(?:'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^` + white + `\p{L}\p{N}]+|[` + white + `]+)`)

const white = `\t\n\v\f\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}`

// slowWords cuts valid UTF-8 into words.
func slowWords(text []byte) [][]byte {
	var words [][]byte
	for len(text) > 0 {
		word := wordPattern.Find(text)
		if len(word) < len(text) && len(bytes.TrimSpace(word)) == 0 {
			_, last := utf8.DecodeLastRune(word)
			if last < len(word) {
				word = word[:len(word)-last]
			}
		}
		words = append(words, word)
		text = text[len(word):]
	}
	return words
}

func (t *Tokenizer) slowMerge(word []byte) []int32 {
	var ids []int32
	for _, b := range word {
		ids = append(ids, t.byteID[b])
	}
	for {
		rank := -1
		for i := range len(ids) - 1 {
			r := slices.Index(t.merges, pair{ids[i], ids[i+1]})
			if r >= 0 && (rank < 0 || r < rank) {
				rank = r
			}
		}
		if rank < 0 {
			return ids
		}
		var next []int32
		for i := 0; i < len(ids); i++ {
			if i+1 < len(ids) && (pair{ids[i], ids[i+1]}) == t.merges[rank] {
				next = append(next, t.merged[rank])
				i++
				continue
			}
			next = append(next, ids[i])
		}
		ids = next
	}
}

func TestWords(t *testing.T) {
	c := newClassifier()
	alphabet := []rune("aé日 s1½٣'rel \t\n\u00a0\u2003\u3000\x1c\u200b!#—😀\u0301")
	rapid.Check(t, func(rt *rapid.T) {
		text := []byte(rapid.StringOf(rapid.SampledFrom(alphabet)).Draw(rt, "text"))
		var got [][]byte
		for rest := text; len(rest) > 0; {
			n := c.wordLen(rest)
			got = append(got, rest[:n])
			rest = rest[n:]
		}
		if want := slowWords(text); !slices.EqualFunc(got, want, bytes.Equal) {
			rt.Errorf("words of %q are %q, want %q", text, got, want)
		}
	})
}

// TestClasses pins the Unicode version: a Go release with newer tables would
// change the ids of texts in newly encoded scripts.
func TestClasses(t *testing.T) {
	var count [4]int
	c := newClassifier()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		count[c.of(r, 4)]++
		if (c.of(r, 4) == space) != unicode.IsSpace(r) {
			t.Errorf("%U: space is %v", r, c.of(r, 4) == space)
		}
	}
	// Counted with Python's regex 2026.5.9 (Unicode 17).
	if count[letter] != 145672 || count[number] != 1924 || count[space] != 25 {
		t.Errorf("%d letters, %d numbers, %d spaces, want 145672, 1924, 25", count[letter], count[number], count[space])
	}
}

// randomTokenizer has merges in an order that no training would give, so that a
// merge can form a pair of lower rank and one token can come of two merges.
func randomTokenizer(seed uint64) *Tokenizer {
	rng := rand.New(rand.NewPCG(seed, 0))
	var tokens [][]byte
	for _, b := range letters.order {
		tokens = append(tokens, []byte{b})
	}
	ids := map[string]int32{}
	for id, token := range tokens {
		ids[string(token)] = int32(id)
	}
	known := []int32{ids["a"], ids["b"], ids["c"]}
	var merges []pair
	for range 40 {
		p := pair{known[rng.IntN(len(known))], known[rng.IntN(len(known))]}
		joined := slices.Concat(tokens[p.left], tokens[p.right])
		if slices.Contains(merges, p) || len(joined) > 8 {
			continue
		}
		if _, ok := ids[string(joined)]; !ok {
			ids[string(joined)] = int32(len(tokens))
			known = append(known, int32(len(tokens)))
			tokens = append(tokens, joined)
		}
		merges = append(merges, p)
	}
	rng.Shuffle(len(merges), func(i, j int) { merges[i], merges[j] = merges[j], merges[i] })
	t, err := build(tokens, merges, nil)
	if err != nil {
		panic(err)
	}
	return t
}

func TestMerge(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tok := randomTokenizer(rapid.Uint64().Draw(rt, "seed"))
		word := []byte(rapid.StringOfN(rapid.SampledFrom([]rune("abc")), 1, 100, -1).Draw(rt, "word"))
		want := tok.slowMerge(word)
		if got := tok.appendLong(nil, word, new(longMerge)); !slices.Equal(got, want) {
			rt.Errorf("heap: %q gives %v, want %v", word, got, want)
		}
		short := word[:min(len(word), shortWord)]
		if got, want := tok.appendShort(nil, short), tok.slowMerge(short); !slices.Equal(got, want) {
			rt.Errorf("scan: %q gives %v, want %v", short, got, want)
		}
	})
}

// TestLastBoundary cuts at every boundary and compares with the whole.
func TestLastBoundary(t *testing.T) {
	tok := randomTokenizer(1)
	pieces := []string{"a", "b", " ", "'", "s", "'s", "1", "!", "\n", "é", "\u00a0", "\xff", "\xe4", "日", "\xb8", "😀", "½", "'l", "l"}
	rapid.Check(t, func(rt *rapid.T) {
		text := []byte{}
		for _, s := range rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 12).Draw(rt, "pieces") {
			text = append(text, s...)
		}
		from := rapid.IntRange(0, len(text)).Draw(rt, "from")
		to := rapid.IntRange(from, len(text)).Draw(rt, "to")
		n := LastBoundary(text[from:to])
		if n == 0 {
			return
		}
		if n >= to-from {
			rt.Fatalf("LastBoundary(%q) = %d, not inside", text[from:to], n)
		}
		whole := tok.Encode(text)
		parts := append(tok.Encode(text[:from+n]), tok.Encode(text[from+n:])...)
		if !slices.Equal(whole, parts) {
			rt.Errorf("%q cut at %d gives %v, want %v", text, from+n, parts, whole)
		}
	})
}

func slowTrain(texts iter.Seq[[]byte], vocabSize int) (tokens [][]byte, merges []pair) {
	var words [][]int32
	var byteID [256]int32
	for id, b := range letters.order {
		byteID[b] = int32(id)
		tokens = append(tokens, []byte{b})
	}
	for text := range texts {
		for _, word := range slowWords(text) {
			var ids []int32
			for _, b := range word {
				ids = append(ids, byteID[b])
			}
			words = append(words, ids)
		}
	}
	for len(tokens) < vocabSize-1 {
		counts := map[pair]int{}
		for _, ids := range words {
			for i := range len(ids) - 1 {
				counts[pair{ids[i], ids[i+1]}]++
			}
		}
		best, bestCount := pair{}, 1
		for p, n := range counts {
			joined := slices.Concat(tokens[p.left], tokens[p.right])
			known := slices.ContainsFunc(tokens, func(t []byte) bool { return bytes.Equal(t, joined) })
			if (n > bestCount || n == bestCount && n > 1 && p.key() < best.key()) && !known && len(joined) <= longestToken {
				best, bestCount = p, n
			}
		}
		if bestCount < 2 {
			break
		}
		id := int32(len(tokens))
		tokens = append(tokens, slices.Concat(tokens[best.left], tokens[best.right]))
		merges = append(merges, best)
		for w, ids := range words {
			var next []int32
			for i := 0; i < len(ids); i++ {
				if i+1 < len(ids) && (pair{ids[i], ids[i+1]}) == best {
					next = append(next, id)
					i++
					continue
				}
				next = append(next, ids[i])
			}
			words[w] = next
		}
	}
	return tokens, merges
}

func TestTrainAgainstSlow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		list := rapid.SliceOfN(rapid.StringOf(rapid.SampledFrom([]rune("aaabc é日"))), 0, 20).Draw(rt, "texts")
		texts := func(yield func([]byte) bool) {
			for _, s := range list {
				if !yield([]byte(s)) {
					return
				}
			}
		}
		wantTokens, wantMerges := slowTrain(texts, 300)
		tok, err := Train(texts, 300, TrainOptions{})
		if err != nil {
			rt.Fatal(err)
		}
		if !slices.Equal(tok.merges, wantMerges) {
			rt.Errorf("merges %v, want %v", tok.merges, wantMerges)
		}
		if got, want := tok.VocabSize(), len(wantTokens)+1; got != want {
			rt.Errorf("VocabSize() = %d, want %d", got, want)
		}
	})
}
