package source_test

import (
	"testing"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/gittest"
)

func TestBlameNamesTheCommitThatChangedALineLastWhateverTheStoreHadBefore(t *testing.T) {
	r := gittest.New(t)
	first := r.Push(map[string]string{"a.yaml": "one\ntwo\nthree\n"})
	second := r.Push(map[string]string{"a.yaml": "one\nTWO\nthree\n"})
	last := r.Push(map[string]string{"a.yaml": "zero\none\nTWO\nthree\n", "b.yaml": "b\n"})
	for name, url := range map[string]string{"over http": r.Serve(t, false).Repo(), "a folder": r.URL()} {
		t.Run(name, func(t *testing.T) {
			g := source.New(t.TempDir())
			req := source.Request{URL: url, Ref: v1alpha1.Ref{Branch: "main"}}
			if _, err := g.Head(t.Context(), req); err != nil { // without its past
				t.Fatal(err)
			}
			files, err := g.Blame(t.Context(), req, last, []string{"a.yaml", "none.yaml"})
			if err != nil {
				t.Fatal(err)
			}
			lines := files["a.yaml"]
			want := []string{last, first, second, first}
			if len(lines) != len(want) {
				t.Fatalf("%d lines, want %d", len(lines), len(want))
			}
			for i, c := range lines {
				if c.Hash != want[i] || c.Author == "" || c.Time.IsZero() {
					t.Errorf("line %d: %+v, want commit %s with its author and time", i+1, c, want[i])
				}
			}
			if err := g.Read(t.Context(), req, last, func(*source.Tree) error { return nil }); err != nil {
				t.Errorf("the store is of no use afterwards: %v", err)
			}
		})
	}
}
