package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The commands and flags are what other people's scripts call. Their list is a
// golden file, so that a changed or removed flag is a line in the diff.

const flagsGolden = "testdata/flags.golden"

// commands returns root and every command below it, parents first, by name.
func commands(root *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{root}
	subs := slices.Clone(root.Commands())
	slices.SortFunc(subs, func(a, b *cobra.Command) int { return strings.Compare(a.Name(), b.Name()) })
	for _, sub := range subs {
		out = append(out, commands(sub)...)
	}
	return out
}

// describeFlags writes one line per command and one per flag of its own.
func describeFlags(root *cobra.Command) []byte {
	var out bytes.Buffer
	for _, cmd := range commands(root) {
		fmt.Fprintln(&out, cmd.UseLine())
		// In name order, the persistent flags of this command among them.
		cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			fmt.Fprint(&out, "    --", f.Name)
			if f.Shorthand != "" {
				fmt.Fprint(&out, " -", f.Shorthand)
			}
			fmt.Fprintf(&out, " %s", f.Value.Type())
			if f.DefValue != "" {
				fmt.Fprintf(&out, " = %s", f.DefValue)
			}
			if len(f.Annotations[cobra.BashCompOneRequiredFlag]) > 0 {
				fmt.Fprint(&out, " (required)")
			}
			if f.Hidden {
				fmt.Fprint(&out, " (hidden)")
			}
			fmt.Fprintln(&out)
		})
	}
	return out.Bytes()
}

func TestFlagsAreTheContract(t *testing.T) {
	got := describeFlags(newRootCmd(&app{}))
	if *update {
		if err := os.WriteFile(flagsGolden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(flagsGolden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), string(want)); diff != "" {
		t.Errorf("commands and flags differ from %s (-got +want); go test -update accepts them:\n%s", flagsGolden, diff)
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	for _, cmd := range commands(newRootCmd(&app{})) {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			if cmd.Short == "" {
				t.Error("no short help")
			}
			if strings.HasSuffix(cmd.Short, ".") {
				t.Errorf("short help %q ends with a full stop", cmd.Short)
			}
			if cmd.HasSubCommands() {
				return // the page lists the commands
			}
			if cmd.Long == "" {
				t.Error("no long help")
			}
			examples := 0
			for line := range strings.Lines(cmd.Example) {
				if strings.Contains(line, cmd.CommandPath()) {
					examples++
				}
			}
			if examples < 2 {
				t.Errorf("%d examples call %q, want 2 or more", examples, cmd.CommandPath())
			}
			cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
				if f.Usage == "" {
					t.Errorf("flag --%s has no help", f.Name)
				}
			})
		})
	}
}
