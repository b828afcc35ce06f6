package chart

import (
	"regexp"
	"strings"
	"testing"
)

// Around an action that puts a value there are two of these, which trim blanks in its stead.
var (
	aBegin = regexp.MustCompile(`\{\{(-?) ?"` + fillBegin + `\d+` + markEnd + `"\}\}\{\{`)
	anEnd  = regexp.MustCompile(`\}\}\{\{"` + fillEnd + `" ?(-?)\}\}`)
)

// Whatever a template is, marks change nothing else of it, and each has the number of the line that it is in.
func FuzzMarked(f *testing.F) {
	f.Add("a: 1\n{{- if .Values.x }}\n  b: {{ \"}}\" | quote }}\n{{- end }}\n")
	f.Add("{{/* a */}}x{{ define \"n\" }}\ny\n{{ if 1 }}z{{ end }}\n{{ end }}\nw: {{ `\n}}` }}\nv")
	f.Add("{{ \"unended }}\n{{")
	f.Add("a: {{- .Values.a.b | default 1 -}} \n{{ with .Values.x }}\nx: {{- toYaml . | nindent 2 }}{{ end }}\n{{ range $.Values.y }}{{ . }}{{ $.Values.z }}{{ end }}")
	f.Add("\t \r\n  - {{- 'a' -}} \n b")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, markBegin) {
			return
		}
		out := marked(text)
		if back := lineMark.ReplaceAllString(out, ""); back != text {
			t.Fatalf("%q without its marks is %q", out, back)
		}
		for _, at := range lineMark.FindAllStringSubmatchIndex(out, -1) {
			if want := 1 + strings.Count(out[:at[0]], "\n"); linesOf(out[at[0]:at[1]])[0] != int32(want) {
				t.Errorf("line %d has the mark %s: %q", want, out[at[0]:at[1]], out)
			}
		}
		if strings.Contains(text, fillBegin) || strings.Contains(text, fillEnd) {
			return
		}
		var refs []reference
		out = filling(text, nil, &refs)
		if n := len(aBegin.FindAllString(out, -1)); n != len(refs) || n != len(anEnd.FindAllString(out, -1)) {
			t.Errorf("%d values, but %d have a mark: %q", len(refs), n, out)
		}
		if back := anEnd.ReplaceAllString(aBegin.ReplaceAllString(out, "{{$1"), "$1}}"); back != text {
			t.Fatalf("%q without its marks is %q", out, back)
		}
		if len(refs) > 0 && len(references(out)) != len(refs) {
			t.Errorf("marks change what a template is: %q", out)
		}
	})
}
