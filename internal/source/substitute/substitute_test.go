package substitute_test

import (
	"encoding/json"
	"testing"

	"github.com/gitopsd/gitopsd/internal/source/substitute"
)

// FuzzObject looks for texts that make the replacement panic, or change what holds no variable.
func FuzzObject(f *testing.F) {
	for _, s := range []string{"${a}", "${a:=b}", "${a:-${b}}", "$${a}", "${a:1:2}", "${a/x/y}", "${#a}", "${", "${}", "${a:9:1}", "${a:-1:-1}", "${a//[/}", "$", "{"} {
		f.Add(s, "value")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		in := map[string]any{"kind": "ConfigMap", "data": map[string]any{"key": text}, "spec": map[string]any{"field": text, text: "x"}}
		before, err := json.Marshal(in)
		if err != nil {
			return
		}
		for _, strict := range []bool{false, true} {
			out, changed, err := substitute.Object(in, map[string]string{"a": value}, strict)
			after, merr := json.Marshal(in)
			if merr != nil || string(after) != string(before) {
				t.Fatalf("the content given was changed: %s, then %s", before, after)
			}
			if err != nil {
				continue
			}
			b, err := json.Marshal(out)
			if err != nil {
				t.Fatalf("what came out is no JSON: %v", err)
			}
			if !changed && string(b) != string(before) {
				t.Errorf("nothing is said to have changed, but %s became %s", before, b)
			}
		}
	})
}
