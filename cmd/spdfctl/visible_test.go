package main

import "testing"

func TestVisible(t *testing.T) {
	for s, want := range map[string]string{
		"h.0.attn.c_attn.weight": "h.0.attn.c_attn.weight", "é 漢": "é 漢", "": "",
		"a\x1b[2Jb": `"a\x1b[2Jb"`, "a\nb": `"a\nb"`, "\xff": `"\xff"`,
	} {
		if got := visible(s); got != want {
			t.Errorf("visible(%q) is %s, want %s", s, got, want)
		}
	}
}
