package metrics

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"
	"time"
)

func TestScratchPTB(t *testing.T) {
	src, _ := os.ReadFile("/tmp/oracle/ptb/all.txt")
	for _, v := range []struct {
		f   string
		old bool
	}{{"thead.txt", false}, {"t341.txt", true}} {
		w, _ := os.ReadFile("/tmp/oracle/ptb/" + v.f)
		a := strings.Split(string(src), "\n")
		b := strings.Split(string(w), "\n")
		bad := 0
		st := time.Now()
		j := 0
		type ex struct{ s string }
		var out []string
		for i, l := range a {
			if j >= len(b) {
				break
			}
			got := strings.Join(ptbTokens(strings.TrimRight(l, "\r"), v.old), " ")
			want := strings.TrimSpace(b[j])
			j++
			if strings.ContainsAny(l, "\u0085\u2028\x0b\x0c\r") {
				fmt.Println("odd line", i)
			}
			if drop(got) != drop(want) {
				bad++
				if len(out) < 400 {
					out = append(out, fmt.Sprintf("%d\n  S %s\n  G %s\n  W %s", i, l, got, want))
				}
			}
		}
		sort.SliceStable(out, func(i, j int) bool { return len(out[i]) < len(out[j]) })
		os.WriteFile("/tmp/oracle/ptb/diff_"+v.f, []byte(strings.Join(out, "\n")), 0o644)
		fmt.Println(v.f, len(a), "bad", bad, time.Since(st))
	}
}

func drop(s string) string {
	var o []string
	for _, w := range strings.Fields(s) {
		ok := true
		for _, p := range ptbPunctuation {
			if w == p {
				ok = false
			}
		}
		if ok {
			o = append(o, w)
		}
	}
	return strings.Join(o, " ")
}
