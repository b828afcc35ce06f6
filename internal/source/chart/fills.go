package chart

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"
)

// Which value became which field is found in the same second rendering: an action that puts one value of the chart's there as it is, such as {{ .Values.port | quote }}, stands between
// two marks then. They are actions themselves, so that blanks are trimmed as before.

const (
	fillBegin = "\uE0A3" // then a number, and markEnd
	fillEnd   = "\uE0A4"
)

// reference is a value as a template names it: keys below .Values in the chart that lies so many charts below the topmost.
type reference struct {
	charts, keys []string
}

// passing are the functions that pass a value on, or another one in its stead when it is missing.
var passing = []string{
	"default", "float64", "indent", "int", "int64", "nindent", "quote", "required", "squote", "toJson", "toString", "toYaml", "toYamlPretty", "tpl", "trim",
}

// references are the actions of a template that put one value there, by where in the text they begin: somewhere within the action. Those in texts that go by a name are not among them,
// since a template may look at what those make. One that cannot be read has none.
func references(text string) map[int][]string {
	t := parse.New("template")
	t.Mode = parse.SkipFuncCheck
	if _, err := t.Parse(text, "", "", map[string]*parse.Tree{}); err != nil || t.Root == nil {
		return nil
	}
	out := map[int][]string{}
	collect(t.Root, []string{}, out)
	return out
}

// collect looks through a part of a template, where the dot is a path from what the template is given; nil where that is not known.
func collect(list *parse.ListNode, dot []string, out map[int][]string) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			var found [][]string
			if len(n.Pipe.Decl) == 0 && passes(n.Pipe, dot, &found) && len(found) == 1 {
				out[int(n.Pos)] = found[0]
			}
		case *parse.IfNode:
			collect(n.List, dot, out)
			collect(n.ElseList, dot, out)
		case *parse.WithNode:
			var inner []string
			if len(n.Pipe.Cmds) == 1 && len(n.Pipe.Cmds[0].Args) == 1 {
				inner = pathOf(n.Pipe.Cmds[0].Args[0], dot)
			}
			collect(n.List, inner, out)
			collect(n.ElseList, dot, out)
		case *parse.RangeNode:
			collect(n.List, nil, out)
			collect(n.ElseList, dot, out)
		}
	}
}

// passes says whether all that a pipeline does is to pass on what it is given, and notes which values that is. A value that something is made with, such as the one that default
// falls back to, is not passed on.
func passes(p *parse.PipeNode, dot []string, values *[][]string) bool {
	for i, c := range p.Cmds {
		passed := len(c.Args) - 1
		if f, ok := c.Args[0].(*parse.IdentifierNode); ok && f.Ident == "tpl" {
			passed = 1
		}
		for j, arg := range c.Args {
			before := len(*values)
			switch arg := arg.(type) {
			case *parse.IdentifierNode:
				if !slices.Contains(passing, arg.Ident) {
					return false
				}
			case *parse.PipeNode:
				if !passes(arg, dot, values) {
					return false
				}
			case *parse.StringNode, *parse.NumberNode, *parse.BoolNode, *parse.NilNode:
			default:
				path := pathOf(arg, dot)
				switch {
				case path == nil:
					return false
				case len(path) > 1 && path[0] == "Values":
					*values = append(*values, path[1:])
				}
			}
			if len(*values) > before && (i > 0 || j != passed) {
				return false
			}
		}
	}
	return true
}

// pathOf is what a node names, as a path from what the template is given; nil when that is not known.
func pathOf(n parse.Node, dot []string) []string {
	switch n := n.(type) {
	case *parse.DotNode:
		return dot
	case *parse.FieldNode:
		if dot != nil {
			return slices.Concat(dot, n.Ident)
		}
	case *parse.VariableNode:
		if n.Ident[0] == "$" {
			return append([]string{}, n.Ident[1:]...) // which is never nil
		}
	}
	return nil
}

// filling is a template with marks around what puts a value there. What they number is appended to refs.
func filling(text string, charts []string, refs *[]reference) string {
	at := references(text)
	if len(at) == 0 || strings.Contains(text, fillBegin) || strings.Contains(text, fillEnd) {
		return text
	}
	var b strings.Builder
	for pos := 0; pos < len(text); {
		n := 1
		if strings.HasPrefix(text[pos:], "{{") {
			if n = action(text[pos:]); n == 0 {
				return text
			}
			if keys := keysIn(at, pos, n); keys != nil {
				b.WriteString(between(text[pos:pos+n], len(*refs)))
				*refs = append(*refs, reference{charts, keys})
				pos += n
				continue
			}
		}
		b.WriteString(text[pos : pos+n])
		pos += n
	}
	return b.String()
}

// between is an action between two marks, which trim blanks in its stead.
func between(action string, number int) string {
	begin, inner, end := "{{", action[2:len(action)-2], "}}"
	if len(inner) > 1 && inner[0] == '-' && strings.ContainsRune(" \t\r\n", rune(inner[1])) {
		begin, inner = "{{- ", inner[1:]
	}
	if n := len(inner); n > 1 && inner[n-1] == '-' && strings.ContainsRune(" \t\r\n", rune(inner[n-2])) {
		inner, end = inner[:n-1], " -}}"
	}
	return begin + `"` + fillBegin + strconv.Itoa(number) + markEnd + `"` + "}}{{" + inner + "}}{{" + `"` + fillEnd + `"` + end
}

// fill is where in a rendered text a value is.
type fill struct {
	ref int
	// before is the line's text up to it, and first the rest of that line; after is what follows it in its last line.
	before, first, after string
	// from and to are its lines.
	from, to int
}

// alone matches the text before a value that is, but for quotes, all of a field or an item of a list, and ended what follows it; holder matches what is before one in lines of its own.
var (
	alone  = regexp.MustCompile(`^[ ]*(- +)*([^\s{}\[\],]+:[ ]+|- +)["']?$`)
	ended  = regexp.MustCompile(`^["']?[ \t\r]*$`)
	holder = regexp.MustCompile(`^[ ]*(- +)*[^\s{}\[\],]+:[ ]*([|>][-+0-9]*[ ]*)?$`)
)

func blank(s string) bool { return strings.Trim(s, " \t\r") == "" }

// one says whether the value is a field's on one line.
func (f fill) one() bool {
	return f.from == f.to && alone.MatchString(f.before) && ended.MatchString(f.after)
}

// block says whether the value has lines of its own, and which is the last before them.
func (f fill) block() (above int, ok bool) {
	switch {
	case !blank(f.after):
		return 0, false
	case blank(f.before):
		return f.from - 1, true
	case f.from < f.to && blank(f.first):
		return f.from, true
	}
	return 0, false
}

// fillsOf reads the marks of a rendered text.
func fillsOf(text string) []fill {
	var out []fill
	var open *fill
	for i, line := range strings.Split(lineMark.ReplaceAllString(text, ""), "\n") {
		read, closed := "", len(out) // what closes on this line has its end's text at closed and after
		var ends []int
		for {
			if open == nil {
				before, rest, ok := strings.Cut(line, fillBegin)
				read += before
				if !ok {
					break
				}
				digits, rest, _ := strings.Cut(rest, markEnd)
				ref, err := strconv.Atoi(digits)
				if err != nil {
					return nil
				}
				open, line = &fill{ref: ref, before: read, from: i + 1}, rest
			}
			inside, rest, ok := strings.Cut(line, fillEnd)
			read += inside
			if open.from == i+1 {
				open.first = inside
			}
			if !ok {
				break
			}
			open.to, line = i+1, rest
			out, ends, open = append(out, *open), append(ends, len(read)), nil
		}
		for j, end := range ends {
			out[closed+j].after = read[end:]
		}
	}
	return out
}

// keysIn are the keys of the reference that an action makes; nil for none.
func keysIn(at map[int][]string, pos, length int) []string {
	for p := pos; p < pos+length; p++ {
		if keys, ok := at[p]; ok {
			return keys
		}
	}
	return nil
}
