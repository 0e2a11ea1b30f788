package nlg

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// benchmarkEntry is one entry of a benchmark in XML. Other catches what the
// format does not have.
type benchmarkEntry struct {
	Modified []struct {
		Triples []string `xml:"mtriple"`
		Other   []other  `xml:",any"`
	} `xml:"modifiedtripleset"`
	Lex []struct {
		Comment string  `xml:"comment,attr"`
		Lang    string  `xml:"lang,attr"`
		Text    string  `xml:",chardata"`
		Other   []other `xml:",any"`
	} `xml:"lex"`
	Other []other `xml:",any"`
}

type other struct{ XMLName xml.Name }

// sidelines are elements of an entry that a prompt does not use.
var sidelines = []string{"originaltripleset", "dbpedialinks", "links", "entitymap"}

// benchmarkPath is the nesting of a benchmark.
var benchmarkPath = []string{"benchmark", "entries", "entry"}

// ReadWebNLG reads a file of the WebNLG challenge in XML, of the edition of 2017
// or of release 3.0, one Example per entry in the order of the file: Source is the
// linearised modified triple set, see LinearizeTriples, References are the texts.
// A text whose comment is not "good" is left out where there is a comment, one in
// another language than English and an empty one too, and an entry of which no
// text is left; the set counts them. An entry without any text stays: it is blind.
//
// An element that the format does not have, a triple that is not one and an entry
// without triples are errors, so is a document type declaration.
//
// Source: Gardent et al., "The WebNLG Challenge", INLG 2017.
func ReadWebNLG(r io.Reader) (Set, error) { return readBenchmark(r, false) }

// ReadDARTXML reads DART in the XML of WebNLG, whose comments name the origin of
// a text: none is left out for them. The rest is as for ReadWebNLG; predicates are
// put in lower case, as by ReadDART.
func ReadDARTXML(r io.Reader) (Set, error) { return readBenchmark(r, true) }

func readBenchmark(r io.Reader, dart bool) (Set, error) {
	var set Set
	bounded := &recordReader{r: r, limit: readAhead + MaxRecord}
	d := xml.NewDecoder(bounded)
	fail := func(line int, err error) (Set, error) {
		var syntax *xml.SyntaxError
		if errors.As(err, &syntax) {
			line, err = syntax.Line, errors.New(syntax.Msg)
		}
		return Set{}, &LineError{Line: line, Err: err}
	}
	depth, roots := 0, 0
	for {
		bounded.limit = d.InputOffset() + readAhead + MaxRecord
		line, _ := d.InputPos()
		token, err := d.Token()
		if err == io.EOF {
			if roots == 0 {
				return fail(line, errors.New("no <benchmark>"))
			}
			return set, nil
		}
		if err != nil {
			return fail(line, err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			line, _ = d.InputPos()
			if want := benchmarkPath[depth]; t.Name.Local != want {
				return fail(line, fmt.Errorf("element <%.40s>, want <%s>", t.Name.Local, want))
			}
			if depth == 0 {
				if roots++; roots > 1 {
					return fail(line, errors.New("a second <benchmark>"))
				}
			}
			if depth < len(benchmarkPath)-1 {
				depth++
				continue
			}
			var e benchmarkEntry
			if err := d.DecodeElement(&e, &t); err != nil {
				return fail(line, err)
			}
			if err := e.addTo(&set, dart); err != nil {
				return fail(line, err)
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if text := strings.TrimSpace(string(t)); text != "" {
				return fail(line, fmt.Errorf("text %.40q between elements", text))
			}
		case xml.Directive:
			return fail(line, errors.New("document type declaration, which is not read"))
		}
	}
}

// addTo appends the entry to set.
func (e *benchmarkEntry) addTo(set *Set, dart bool) error {
	for _, o := range e.Other {
		if !slices.Contains(sidelines, o.XMLName.Local) {
			return fmt.Errorf("element <%.40s> in an entry", o.XMLName.Local)
		}
	}
	if len(e.Modified) != 1 {
		return fmt.Errorf("entry has %d <modifiedtripleset>, want 1", len(e.Modified))
	}
	m := e.Modified[0]
	if len(m.Other) > 0 {
		return fmt.Errorf("element <%.40s> in a triple set", m.Other[0].XMLName.Local)
	}
	if len(m.Triples) == 0 {
		return errors.New("entry without triples")
	}
	triples := make([]Triple, len(m.Triples))
	for i, text := range m.Triples {
		var err error
		if triples[i], err = parseTriple(text); err != nil {
			return err
		}
	}
	if dart {
		lowerPredicates(triples)
	}
	var texts []string
	for _, l := range e.Lex {
		if len(l.Other) > 0 {
			return fmt.Errorf("element <%.40s> in a text", l.Other[0].XMLName.Local)
		}
		switch {
		case !dart && l.Comment != "" && l.Comment != "good":
			set.drop(fmt.Sprintf("text marked %.20s", l.Comment))
		case l.Lang != "" && l.Lang != "en":
			set.drop(fmt.Sprintf("text in language %.20s", l.Lang))
		default:
			if text, ok := set.keepText(l.Text); ok {
				texts = append(texts, text)
			}
		}
	}
	set.add(LinearizeTriples(triples), texts, len(e.Lex))
	return nil
}
