package directive_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/gitopsd/gitopsd/internal/directive"
)

// The scripts hold annotations, one "name: value" a line, and what they ask for.
func TestAnnotationsAskForTheSameInEveryDialect(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			annotations := map[string]string{}
			for line := range strings.Lines(d.Input) {
				name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
				if !ok {
					d.Fatalf(t, "no annotation: %q", line)
				}
				annotations[name] = value
			}
			s, err := directive.Read(annotations)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			return describe(s)
		})
	})
}

func describe(s directive.Set) string {
	var out []string
	add := func(yes bool, word string) {
		if yes {
			out = append(out, word)
		}
	}
	add(s.Wave != 0, fmt.Sprintf("wave %d", s.Wave))
	for _, h := range s.Hooks {
		word := "hook " + string(h.Phase)
		if h.Phase == "" {
			word = "hook of no phase"
		}
		if h.On != "" {
			word += " on " + string(h.On)
		}
		out = append(out, word)
	}
	add(s.Delete.Succeeded, "deleted when it succeeded")
	add(s.Delete.Failed, "deleted when it failed")
	add(s.Delete.Kept, "never deleted")
	add(s.Keep, "kept")
	add(s.Replace, "replaced")
	add(s.Once, "made once")
	add(s.WaitForKind, "waits for its kind")
	add(s.Leave, "left alone")
	if len(out) == 0 {
		return "nothing\n"
	}
	return strings.Join(out, "\n") + "\n"
}

func TestAHookRunsOnItsOccasionOnly(t *testing.T) {
	s, err := directive.Read(map[string]string{"helm.sh/hook": "pre-install,post-upgrade"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range []directive.Phase{directive.PreSync, directive.Sync, directive.PostSync, directive.SyncFail} {
		for _, on := range []directive.Occasion{directive.Install, directive.Upgrade} {
			if s.In(p, on) {
				got = append(got, fmt.Sprint(p, " ", on))
			}
		}
	}
	if want := []string{"PreSync install", "PostSync upgrade"}; !slices.Equal(got, want) {
		t.Errorf("it runs at %v, want %v", got, want)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("gitopsd.io/hook", "pre-sync, ,x", "argocd.argoproj.io/sync-wave", "-5")
	f.Add("helm.sh/hook", "test", "helm.sh/hook-weight", "99999999999999999999")
	f.Add("argocd.argoproj.io/sync-options", "Prune=false,,=,Force", "kustomize.toolkit.fluxcd.io/ssa", "merge")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string) {
		annotations := map[string]string{n1: v1, n2: v2}
		s, err := directive.Read(annotations)
		again, errAgain := directive.Read(annotations)
		if fmt.Sprint(s, err) != fmt.Sprint(again, errAgain) {
			t.Errorf("read differently the second time: %v %v, then %v %v", s, err, again, errAgain)
		}
		if s.Keep != directive.Keeps(annotations) {
			t.Errorf("Keep is %v, Keeps %v", s.Keep, !s.Keep)
		}
	})
}
