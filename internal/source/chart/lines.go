package chart

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/engine"

	"github.com/gitopsd/gitopsd/internal/source"
)

// Which line of a template made which line of a manifest is found by rendering the chart once more, with a mark in each line of the templates' own text; the marks say in
// the result where they came from. What an action puts there has the line of the text before it.
//
// The marks must not change what templates decide. So there are none in what a template may look at, the text that define gives a name to, and none where actions trim blanks. A
// checksum of another template's text still differs, but not in how many lines it has: a manifest that has another number of them the second time keeps none.

// Marks are between characters that stand for nothing (Unicode's private use area).
const (
	markBegin = "\uE0A1"
	markEnd   = "\uE0A2"
)

// Bounds on what is rendered a second time for the sake of lines: the text of the manifests, and how long the first time took.
const (
	maxTraced     = 8 << 20
	maxTracedTime = 5 * time.Second
)

// lineMark matches the mark of a line.
var lineMark = regexp.MustCompile(markBegin + `\d+` + markEnd)

// traces is what is known of a rendered file: for each of its lines the template's, zero where it is not known, and by line where the values on it are set.
type traces struct {
	lines  []int32
	filled map[int]source.Place
}

// trace returns what is known of each rendered file. values makes what the templates are given, out of the layers.
func trace(ctx context.Context, c *chartv2.Chart, values func() (common.Values, error), l *layers, rendered map[string]string) map[string]traces {
	total := 0
	for _, text := range rendered {
		if total += len(text); total > maxTraced {
			return nil
		}
	}
	var refs []reference
	markAll(c, nil, &refs)
	top, err := values()
	if err != nil {
		return nil
	}
	traced, err := engine.Engine{}.RenderWithContext(ctx, c, top)
	if err != nil {
		return nil
	}
	out := make(map[string]traces, len(traced))
	for name, text := range traced {
		lines := linesOf(text)
		if len(lines) != 1+strings.Count(rendered[name], "\n") {
			continue
		}
		known := traces{lines: lines}
		if fills := fillsOf(text); len(fills) > 0 {
			known.filled = l.placed(name, rendered[name], fills, refs)
		}
		out[name] = known
	}
	return out
}

func markAll(c *chartv2.Chart, charts []string, refs *[]reference) {
	for _, t := range c.Templates {
		t.Data = []byte(marked(filling(string(t.Data), charts, refs)))
	}
	for _, d := range c.Dependencies() {
		markAll(d, slices.Concat(charts, []string{d.Name()}), refs)
	}
}

// marked is a template with the number of each line in front of the first of the line's own text. One that cannot be read is left as it is.
func marked(text string) string {
	if strings.Contains(text, markBegin) {
		return text
	}
	var b strings.Builder
	line, due, named := 1, true, 0 // named is how deep the text lies in what define gives a name to
	for rest := text; rest != ""; {
		n := 1
		switch {
		case strings.HasPrefix(rest, "{{"):
			if n = action(rest); n == 0 {
				return text
			}
			named = depth(named, rest[2:n])
			line += strings.Count(rest[:n], "\n")
			due = due || strings.Contains(rest[:n], "\n")
		case rest[0] == '\n':
			line++
			due = true
		case due && named == 0 && !strings.ContainsRune(" \t\r", rune(rest[0])):
			b.WriteString(markBegin + strconv.Itoa(line) + markEnd)
			due = false
		}
		b.WriteString(rest[:n])
		rest = rest[n:]
	}
	return b.String()
}

// depth is how deep what follows an action lies in the text that define gives a name to.
func depth(named int, action string) int {
	words := strings.Fields(strings.TrimPrefix(action, "-"))
	if len(words) == 0 {
		return named
	}
	switch strings.TrimRight(words[0], "-}") {
	case "define", "block":
		return named + 1
	case "if", "range", "with":
		if named > 0 {
			return named + 1
		}
	case "end":
		return max(named-1, 0)
	}
	return named
}

// action is the length of the action that a text begins with; zero when it has no end.
func action(text string) int {
	at := 2
	if inner := strings.TrimLeft(strings.TrimPrefix(text[2:], "-"), " \t\r\n"); strings.HasPrefix(inner, "/*") {
		end := strings.Index(text, "*/")
		if end < 0 {
			return 0
		}
		at = end + 2
	}
	for at < len(text) {
		switch c := text[at]; {
		case strings.HasPrefix(text[at:], "}}"):
			return at + 2
		case c == '"' || c == '\'' || c == '`':
			at++
			for at < len(text) && text[at] != c {
				if text[at] == '\\' && c != '`' {
					at++
				}
				at++
			}
		}
		at++
	}
	return 0
}

// linesOf reads the marks of a rendered text: for each line the number in it, or else in the last one before it that has one.
func linesOf(text string) []int32 {
	var out []int32
	last := int32(0)
	for line := range strings.SplitSeq(text, "\n") {
		if _, rest, ok := strings.Cut(line, markBegin); ok {
			digits, _, _ := strings.Cut(rest, markEnd)
			if n, err := strconv.ParseInt(digits, 10, 32); err == nil {
				last = int32(n)
			}
		}
		out = append(out, last)
	}
	return out
}
