package chart

import (
	"regexp"
	"strings"
	"testing"
)

var aMark = regexp.MustCompile(markBegin + `(\d+)` + markEnd)

// Whatever a template is, marks change nothing else of it, and each has the number of the line that it is in.
func FuzzMarked(f *testing.F) {
	f.Add("a: 1\n{{- if .Values.x }}\n  b: {{ \"}}\" | quote }}\n{{- end }}\n")
	f.Add("{{/* a */}}x{{ define \"n\" }}\ny\n{{ if 1 }}z{{ end }}\n{{ end }}\nw: {{ `\n}}` }}\nv")
	f.Add("{{ \"unended }}\n{{")
	f.Add("\t \r\n  - {{- 'a' -}} \n b")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, markBegin) {
			return
		}
		out := marked(text)
		if back := aMark.ReplaceAllString(out, ""); back != text {
			t.Fatalf("%q without its marks is %q", out, back)
		}
		for _, at := range aMark.FindAllStringSubmatchIndex(out, -1) {
			if want := 1 + strings.Count(out[:at[0]], "\n"); linesOf(out[at[0]:at[1]])[0] != int32(want) {
				t.Errorf("line %d has the mark %s: %q", want, out[at[2]:at[3]], out)
			}
		}
	})
}
