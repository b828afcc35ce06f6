package proxy

import (
	"bytes"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// usual is an answer as nearly all are: its head has come in one piece, and says how long a body follows. It is read into storage that the connection uses
// again for the next one, which is most of what a request would have the garbage collector do. Of all others net/http makes what it can.
type usual struct {
	resp   http.Response
	header http.Header
	values []string
	body   sized
}

var headEnd = []byte("\r\n\r\n")

// read reads the head from what c has buffered. It says no, and has taken nothing, if the answer is not a usual one, or none at all.
//
// Header and body are those of the exchange until the connection is given to another: nothing may be kept of them but strings.
func (u *usual) read(c *conn, method string) (*http.Response, bool) {
	if _, err := c.br.Peek(1); err != nil || method == http.MethodHead {
		return nil, false
	}
	b, _ := c.br.Peek(c.br.Buffered())
	end := bytes.Index(b, headEnd)
	if end < 0 || !bytes.HasPrefix(b, []byte("HTTP/1.1 ")) {
		return nil, false
	}
	line, fields, _ := strings.Cut(string(b[:end+2]), "\r\n")
	status := line[len("HTTP/1.1 "):]
	code, ok := statusCode(status) // a line that ends in a bare line feed is none here
	if !ok {
		return nil, false
	}
	length, ok := u.fields(fields)
	if !ok {
		return nil, false
	}
	_, _ = c.br.Discard(end + len(headEnd)) // it is there
	u.resp = http.Response{Status: status, StatusCode: code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: u.header, ContentLength: length, Body: http.NoBody}
	if length > 0 {
		u.body = sized{from: c.br, left: length}
		u.resp.Body = &u.body
	}
	return &u.resp, true
}

// statusCode reads a status that a body may follow.
func statusCode(s string) (int, bool) {
	digits, _, _ := strings.Cut(s, " ")
	code, err := strconv.Atoi(digits)
	return code, err == nil && httpguts.ValidHeaderFieldValue(s) && len(digits) == 3 && code >= 200 && code != http.StatusNoContent && code != http.StatusNotModified
}

// fields reads the headers, and returns the length that they tell.
func (u *usual) fields(text string) (length int64, ok bool) {
	if u.header == nil {
		u.header = http.Header{}
	}
	clear(u.header)
	clear(u.values)
	u.values, length = u.values[:0], -1
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\r\n")
		colon := strings.IndexByte(line, ':')
		if colon <= 0 || !httpguts.ValidHeaderFieldName(line[:colon]) {
			return 0, false
		}
		value := strings.Trim(line[colon+1:], " \t")
		if !httpguts.ValidHeaderFieldValue(value) {
			return 0, false
		}
		name := textproto.CanonicalMIMEHeaderKey(line[:colon])
		switch name {
		case "Content-Length":
			n, err := strconv.ParseUint(value, 10, 63)
			if err != nil || length >= 0 {
				return 0, false
			}
			length = int64(n)
		case "Connection":
			if !strings.EqualFold(value, "keep-alive") {
				return 0, false
			}
		case "Transfer-Encoding", "Trailer", "Pragma":
			return 0, false
		}
		u.add(name, value)
	}
	return length, length >= 0
}

// add notes a header. Each value has its own slice of the storage, with no room to grow into the next.
func (u *usual) add(name, value string) {
	if had := u.header[name]; had != nil {
		u.header[name] = append(had, value)
		return
	}
	n := len(u.values)
	u.values = append(u.values, value)
	u.header[name] = u.values[n : n+1 : n+1]
}

// sized is a body whose length is known.
type sized struct {
	from io.Reader
	left int64
}

// Read implements io.Reader. The end comes with the last bytes.
func (s *sized) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.from.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	switch {
	case s.left == 0:
		return n, io.EOF
	case err == io.EOF: //nolint:errorlint // a reader's own
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements io.Closer. What is left is the connection's to deal with.
func (*sized) Close() error { return nil }
