package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
)

// parseJSON reads every document of a JSON file. It is a reader of its own, not the YAML one, because YAML's strings know no surrogate pairs.
func parseJSON(file string, data []byte, values *int) ([]Document, *ParseError) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	p := jsonParser{file: file, data: data, dec: json.NewDecoder(bytes.NewReader(data)), values: values}
	p.dec.UseNumber()
	for i, b := range data {
		if b == '\n' {
			p.newlines = append(p.newlines, i)
		}
	}
	var docs []Document
	for {
		tok, err := p.dec.Token()
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, p.syntax(err)
		}
		line, _ := p.position(p.dec.InputOffset() - 1)
		v, lines, perr := p.value(tok, line, 0)
		if perr != nil {
			return nil, perr
		}
		docs = append(docs, Document{File: p.file, Value: v, Line: line, lines: lines})
	}
}

type jsonParser struct {
	file     string
	data     []byte
	dec      *json.Decoder
	newlines []int
	values   *int
}

func (p *jsonParser) position(offset int64) (line, column int) {
	at := int(max(offset, 0))
	i := sort.SearchInts(p.newlines, at)
	if i == 0 {
		return 1, at + 1
	}
	return i + 1, at - p.newlines[i-1]
}

func (p *jsonParser) fail(format string, args ...any) *ParseError {
	line, col := p.position(p.dec.InputOffset() - 1)
	return &ParseError{File: p.file, Line: line, Column: col, Message: fmt.Sprintf(format, args...)}
}

func (p *jsonParser) syntax(err error) *ParseError {
	offset := p.dec.InputOffset()
	var se *json.SyntaxError
	if errors.As(err, &se) {
		offset = se.Offset - 1
	}
	msg := err.Error()
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		offset, msg = int64(len(p.data)), "the file ends in the middle of a value"
	}
	line, col := p.position(offset)
	return &ParseError{File: p.file, Line: line, Column: col, Message: msg}
}

// value reads the value that begins with tok; line is where its key, or in a list the value itself, begins.
func (p *jsonParser) value(tok json.Token, line, depth int) (any, lineMap, *ParseError) {
	if depth > maxDepth {
		return nil, nil, p.fail("nested deeper than %d levels", maxDepth)
	}
	if *p.values--; *p.values < 0 {
		return nil, nil, p.fail("more than %d values in one commit; split the Application", maxValues)
	}
	lines := lineMap{int32(line)}
	switch t := tok.(type) {
	case json.Delim:
		if t == '[' {
			return p.list(lines, depth)
		}
		return p.object(lines, depth)
	case json.Number:
		if i, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
			return i, lines, nil
		}
		f, err := t.Float64()
		if err != nil {
			return nil, nil, p.fail("%s is too large a number", t)
		}
		return f, lines, nil
	default:
		return t, lines, nil
	}
}

func (p *jsonParser) list(lines lineMap, depth int) (any, lineMap, *ParseError) {
	out := []any{}
	for p.dec.More() {
		tok, err := p.dec.Token()
		if err != nil {
			return nil, nil, p.syntax(err)
		}
		at, _ := p.position(p.dec.InputOffset() - 1)
		v, l, perr := p.value(tok, at, depth+1)
		if perr != nil {
			return nil, nil, perr
		}
		out, lines = append(out, v), append(lines, l...)
	}
	if _, err := p.dec.Token(); err != nil {
		return nil, nil, p.syntax(err)
	}
	return out, lines, nil
}

func (p *jsonParser) object(lines lineMap, depth int) (any, lineMap, *ParseError) {
	out := map[string]any{}
	below := map[string]lineMap{}
	for p.dec.More() {
		tok, err := p.dec.Token()
		if err != nil {
			return nil, nil, p.syntax(err)
		}
		key, ok := tok.(string)
		if !ok {
			return nil, nil, p.fail("a map's key must be a string")
		}
		at, _ := p.position(p.dec.InputOffset() - 1)
		if _, dup := out[key]; dup {
			return nil, nil, p.fail("duplicate key %q, first at line %d", key, below[key][0])
		}
		if tok, err = p.dec.Token(); err != nil {
			return nil, nil, p.syntax(err)
		}
		v, l, perr := p.value(tok, at, depth+1)
		if perr != nil {
			return nil, nil, perr
		}
		out[key], below[key] = v, l
	}
	if _, err := p.dec.Token(); err != nil {
		return nil, nil, p.syntax(err)
	}
	for _, k := range sortedKeys(out) {
		lines = append(lines, below[k]...)
	}
	return out, lines, nil
}
