package cli

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Style is how a piece of text looks on a terminal.
type Style string

// The styles, as ANSI sequences.
const (
	Plain  Style = ""
	Bold   Style = "\x1b[1m"
	Dim    Style = "\x1b[2m"
	Red    Style = "\x1b[31m"
	Green  Style = "\x1b[32m"
	Yellow Style = "\x1b[33m"
	reset        = "\x1b[0m"
)

// cell is one field of a table.
type cell struct {
	text  string
	style Style
}

func plain(s string) cell { return cell{text: s} }

// table lines up its columns by what is seen, not by the bytes that colour them.
type table struct {
	indent string
	rows   [][]cell
}

func (t *table) add(row ...cell) { t.rows = append(t.rows, row) }

func (t *table) header(names ...string) {
	row := make([]cell, len(names))
	for i, n := range names {
		row[i] = cell{n, Bold}
	}
	t.add(row...)
}

func (t *table) write(p *printer) {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range t.rows {
		p.print(t.indent)
		for i, c := range row {
			p.styled(c.style, c.text)
			if i < len(row)-1 {
				p.print(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		p.print("\n")
	}
}

// printer remembers the first error, so that what is printed can be written down without handling one at every word.
type printer struct {
	w      io.Writer
	colour bool
	err    error
}

func (p *printer) print(s string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, s)
	}
}

func (p *printer) styled(s Style, text string) {
	if !p.colour || s == Plain || text == "" {
		p.print(text)
		return
	}
	p.print(string(s) + text + reset)
}
