package chart

import (
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/gitopsd/gitopsd/internal/source"
)

// place is how the template engine names one: chart/templates/file:line, and the column where it knows it.
var place = regexp.MustCompile(`([^\s:()]+):(\d+)(?::(\d+))?`)

// explain finds in an error of the engine the last place that it names: that is where the expression stands that failed; the places before it lead there.
func explain(err error, chart, root string) error {
	text := err.Error()
	e := &source.ParseError{File: path.Join(root, definition), Message: strings.Join(strings.Fields(text), " ")}
	for _, m := range place.FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(m[1], chart+"/") {
			continue
		}
		// The expression is a whole number of digits, so it converts unless it is absurdly long.
		line, err := strconv.Atoi(m[2])
		if err != nil {
			continue
		}
		e.File, e.Line, e.Column = within(m[1], chart, root), line, 0
		if m[3] != "" {
			if column, err := strconv.Atoi(m[3]); err == nil {
				e.Column = column + 1 // the engine counts from zero
			}
		}
	}
	return source.ParseErrors{e}
}
