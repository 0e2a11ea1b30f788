// Package bpe is the byte-level byte pair encoding of GPT-2: text to token ids
// and back, loading and saving tokenizers in the files of OpenAI and Hugging
// Face, and training new ones.
//
// # Encoding
//
// Text is cut into words, and each word, byte by byte, is merged pair by pair in
// the order of the merge list. The words are those of OpenAI's pattern
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// found by hand in one pass. In a word the pair of lowest rank is merged
// wherever it stands, from left to right, before any other pair is looked at, as
// in OpenAI's encoder.py. Three things the pattern leaves open:
//
//   - A byte that is not part of valid UTF-8 (as package unicode/utf8 sees it:
//     surrogates and overlong forms are not) counts as a symbol: not a letter, not
//     a number, not white space. The byte itself is encoded, so that
//     Decode(Encode(x)) is x for every x.
//   - Letters and numbers are those of Unicode 17, white space is White_Space;
//     Python's regex 2026.5 agrees on every code point.
//   - The text <|endoftext|> has no special meaning, as in OpenAI's encoder;
//     EndOfText returns the id that frames documents.
//
// A run of more than 1 GiB without a word boundary is merged in parts.
//
// # Files
//
// Load reads, from a directory or given one of its files:
//
//	tokenizer.json              Hugging Face, preferred where it exists
//	vocab.json  merges.txt      Hugging Face "slow" tokenizers, microsoft/LoRA
//	encoder.json  vocab.bpe     OpenAI's names for the same two
//
// vocab.json is an object from token to id. A token is written in the byte
// alphabet: the bytes 33-126, 161-172 and 174-255 stand for the characters of
// these code points, the other 68, in order, for U+0100, U+0101, ... merges.txt
// is a line "#version: ..." (optional) and one merge a line, the left part, a
// space and the right part, the lowest rank first. Both may begin with a UTF-8
// byte order mark, and lines may end in CR LF.
//
// Every one of these is an error: ids that are not exactly 0 to V-1; a token,
// merge or JSON key that appears twice; one of the 256 byte tokens missing; a
// merge whose parts or result are not in the vocabulary; a character outside the
// byte alphabet; a blank line between merges; anything after the JSON value.
// The limits are 256 MiB a file, 4,194,304 tokens and as many merges.
//
// A tokenizer.json whose parts would give other ids than GPT-2's rules is
// refused with ErrUnsupported: a normalizer, a pre-tokenizer other than
// ByteLevel with add_prefix_space false and its own pattern, a post-processor or
// decoder other than ByteLevel, a model other than BPE, dropout, byte_fallback,
// ignore_merges, subword prefixes and suffixes, and added tokens that are not
// special or not printable ASCII. Its truncation and padding are settings of a
// call, not of the tokenizer, and are ignored.
package bpe
