package env

import (
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "B": "$(A)", "E": ""}
	lookup := func(n string) (string, bool) { v, ok := vars[n]; return v, ok }
	for in, want := range map[string]string{
		"":              "",
		"plain":         "plain",
		"$(A)":          "1",
		"x$(A)y$(A)":    "x1y1",
		"$(B)":          "$(A)", // what a value holds is not looked at again
		"$(E)":          "",
		"$(NONE)":       "$(NONE)",
		"$$(A)":         "$(A)",
		"$$$(A)":        "$1",
		"$$":            "$",
		"$":             "$",
		"$A":            "$A",
		"$(A":           "$(A",
		"cost: 5$ each": "cost: 5$ each",
		"$()":           "$()",
	} {
		if got := Expand(in, lookup); got != want {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("a$(B)$$(C)$")
	f.Fuzz(func(t *testing.T, s string) {
		same := Expand(s, func(n string) (string, bool) { return "", false })
		if !strings.Contains(s, "$$") && same != s {
			t.Errorf("Expand(%q) without any variable = %q", s, same)
		}
		Expand(s, func(n string) (string, bool) { return s, true })
	})
}
