package bpe_test

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestInvalidUTF8 checks that bytes outside UTF-8 count as symbols and are kept.
func TestInvalidUTF8(t *testing.T) {
	tok := gpt2(t)
	cases := []struct {
		name, text string
		words      []string // whose ids, joined, the text must have
	}{
		{"alone", "\xff", []string{"\xff"}},
		{"with symbols", "!\xff\xfe?", []string{"!\xff\xfe?"}},
		{"between letters", "ab\xffcd", []string{"ab", "\xff", "cd"}},
		{"after a space", "a \x80b", []string{"a", " \x80", "b"}},
		{"cut character", "x\xe6\x97", []string{"x", "\xe6\x97"}},
		{"surrogate", "a\xed\xa0\x80b", []string{"a", "\xed\xa0\x80", "b"}},
		{"overlong space", "a\xc0\xa0b", []string{"a", "\xc0\xa0", "b"}},
	}
	for _, c := range cases {
		var want []int32
		for _, w := range c.words {
			want = tok.AppendEncode(want, []byte(w))
		}
		got := tok.Encode([]byte(c.text))
		if !slices.Equal(got, want) {
			t.Errorf("%s: Encode(%q) = %v, want %v", c.name, c.text, got, want)
		}
		if back, err := tok.Decode(got); err != nil || string(back) != c.text {
			t.Errorf("%s: Decode(Encode(%q)) = %q, %v", c.name, c.text, back, err)
		}
	}
}

func TestDecodeRejects(t *testing.T) {
	tok := gpt2(t)
	for id, want := range map[int32]string{
		50257: "bpe: token 1: id 50257 is outside the vocabulary of 50257",
		-1:    "bpe: token 1: id -1 is outside the vocabulary of 50257",
	} {
		got, err := tok.AppendDecode([]byte("x"), []int32{0, id})
		if err == nil || err.Error() != want {
			t.Errorf("AppendDecode of %d: error %v, want %q", id, err, want)
		}
		if string(got) != "x" {
			t.Errorf("AppendDecode of %d = %q, want what it was given", id, got)
		}
	}
	if got, err := tok.Decode([]int32{50256}); err != nil || string(got) != "<|endoftext|>" {
		t.Errorf("Decode(50256) = %q, %v", got, err)
	}
}

func TestAppendEncode(t *testing.T) {
	tok := gpt2(t)
	got := tok.AppendEncode([]int32{7}, []byte("hello world"))
	if want := []int32{7, 31373, 995}; !slices.Equal(got, want) {
		t.Errorf("AppendEncode = %v, want %v", got, want)
	}
	if got := tok.Encode(nil); len(got) != 0 {
		t.Errorf("Encode(nil) = %v, want none", got)
	}
}

// TestLongRun is quick only if merging is not quadratic: at the square of its
// length it would take hours.
func TestLongRun(t *testing.T) {
	tok := gpt2(t)
	for _, letter := range []string{"a", "A", "é", "=", " ", "\xff"} {
		text := bytes.Repeat([]byte(letter), 1<<18)
		got, err := tok.Decode(tok.Encode(text))
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("a run of %q does not come back: %v", letter, err)
		}
	}
}

// TestConcurrent shares one tokenizer between goroutines that fill and evict
// each other's idea of the word cache.
func TestConcurrent(t *testing.T) {
	tok := gpt2(t)
	text := speech(t)
	want := tok.Encode(text)
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			if got := tok.Encode(text); !slices.Equal(got, want) {
				t.Error("ids differ between goroutines")
			}
		})
	}
	running.Wait()
}

func TestAllocations(t *testing.T) {
	tok := gpt2(t)
	text := []byte(strings.Repeat("Sparse pre-training, dense fine-tuning. ", 20))
	dst := make([]int32, 0, len(text))
	// The first call may make the encoder; the garbage collector may take it.
	if n := testing.AllocsPerRun(100, func() { dst = tok.AppendEncode(dst[:0], text) }); n >= 1 {
		t.Errorf("AppendEncode allocates %g times", n)
	}
}
