package nlg

import (
	"fmt"
	"strings"
)

// Triple is one statement of a knowledge base: subject, predicate and object.
type Triple struct{ Subject, Predicate, Object string }

// LinearizeTriples renders triples as the prompt that the GPT-2 experiments of
// LoRA and SPDF fine-tune on:
//
//	Aarhus : leaderName : Jacob_Bundsgaard | Aarhus : country : Denmark
//
// The order stays, nothing is escaped. The predicates of DART are put in lower
// case before (see ReadDART), those of WebNLG are not.
//
// Source: Hu et al., "LoRA", 2021, and its examples/NLG/src/format_converting_*.py.
func LinearizeTriples(triples []Triple) string {
	var b strings.Builder
	for i, t := range triples {
		if i > 0 {
			b.WriteString(" | ")
		}
		b.WriteString(t.Subject + " : " + t.Predicate + " : " + t.Object)
	}
	return b.String()
}

// parseTriple splits "subject | predicate | object".
func parseTriple(text string) (Triple, error) {
	parts := strings.Split(strings.TrimSpace(text), " | ")
	if len(parts) != 3 {
		return Triple{}, fmt.Errorf("triple %.80q has %d parts between \" | \", want 3", text, len(parts))
	}
	return Triple{strings.TrimSpace(parts[0]), strings.TrimSpace(parts[1]), strings.TrimSpace(parts[2])}, nil
}

// lowerPredicates does to triples what LoRA's pipeline does to those of DART.
func lowerPredicates(triples []Triple) {
	for i := range triples {
		triples[i].Predicate = strings.ToLower(triples[i].Predicate)
	}
}
