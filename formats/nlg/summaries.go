package nlg

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// ReadSciTLDR reads SciTLDR in JSON Lines: objects with "source", the sentences of
// an abstract, and "target", its summaries. Source is the sentences with blanks
// between them, References are the summaries. Empty summaries are left out, and a
// record without one left; the set counts them.
//
// Source: Cachola et al., "TLDR: Extreme Summarization of Scientific Documents",
// Findings of EMNLP 2020.
func ReadSciTLDR(r io.Reader) (Set, error) {
	var set Set
	err := eachLine(r, func(_ int, text []byte) error {
		if len(bytes.TrimSpace(text)) == 0 {
			return nil
		}
		var sentences, summaries []string
		if err := decodeFields(text, map[string]any{"source": &sentences, "target": &summaries}); err != nil {
			return err
		}
		prompt := strings.TrimSpace(strings.Join(sentences, " "))
		if prompt == "" {
			return errors.New(`"source" is empty`)
		}
		var texts []string
		for _, s := range summaries {
			if s, ok := set.keepText(s); ok {
				texts = append(texts, s)
			}
		}
		if len(summaries) == 0 {
			return errors.New(`"target" is empty`)
		}
		set.add(prompt, texts, len(summaries))
		return nil
	})
	if err != nil {
		return Set{}, err
	}
	return set, nil
}

// Cloze is a passage whose last word is to be predicted.
type Cloze struct {
	Context string // without the blank before the word
	Word    string
}

// ReadLambada reads LAMBADA in JSON Lines: objects with "text", whose last word,
// what follows the last blank, is the one to predict. A passage of one word is
// left out and counted.
//
// Source: Paperno et al., "The LAMBADA dataset", ACL 2016, in the form that OpenAI
// evaluated GPT-2 on.
func ReadLambada(r io.Reader) ([]Cloze, []Drop, error) {
	var set Set
	var list []Cloze
	err := eachLine(r, func(_ int, text []byte) error {
		if len(bytes.TrimSpace(text)) == 0 {
			return nil
		}
		var passage string
		if err := decodeFields(text, map[string]any{"text": &passage}); err != nil {
			return err
		}
		at := strings.LastIndexByte(passage, ' ')
		if at <= 0 || at == len(passage)-1 {
			set.drop("passage without a blank before its last word")
			return nil
		}
		list = append(list, Cloze{passage[:at], passage[at+1:]})
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return list, set.Drops, nil
}

// ReadWikiText reads WikiText and returns its articles as they stand: one starts
// at every line " = Title = ", which has one equals sign at either end. Blank lines
// before the first are left out; other text before it is an article too.
//
// Source: Merity et al., "Pointer Sentinel Mixture Models", ICLR 2017.
func ReadWikiText(r io.Reader) ([]string, error) {
	var articles []string
	var b strings.Builder
	flush := func() {
		if strings.TrimSpace(b.String()) != "" {
			articles = append(articles, b.String())
		}
		b.Reset()
	}
	err := eachLine(r, func(_ int, text []byte) error {
		if isTitle(string(text)) {
			flush()
		}
		b.Write(text)
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		return nil, err
	}
	flush()
	return articles, nil
}

// isTitle reports whether a line of WikiText is the title of an article.
func isTitle(line string) bool {
	line, ok := strings.CutPrefix(line, " = ")
	if !ok {
		return false
	}
	title, ok := strings.CutSuffix(line, " = ")
	return ok && title != "" && !strings.HasPrefix(title, "=") && !strings.HasSuffix(title, "=")
}
