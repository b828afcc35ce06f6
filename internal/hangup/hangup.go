package hangup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
)

// Watch gives the request a context that ends with the client's connection, also after that has been taken over. It is to be cancelled when the request has
// been served.
func Watch(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	return &hijacked{w, cancel}, r.WithContext(ctx), cancel
}

// hijacked watches the connection that is taken over.
type hijacked struct {
	http.ResponseWriter
	gone func()
}

var _ http.Hijacker = (*hijacked)(nil)

// Hijack takes the connection over.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	c := &watched{conn, h.gone}
	return c, bufio.NewReadWriter(bufio.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(early)), c)), bufio.NewWriter(c)), nil
}

// watched is a connection whose reader, and there always is one, finds out that the client is gone, or is told so and closes it.
type watched struct {
	net.Conn
	gone func()
}

func (c *watched) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.gone()
	}
	return n, err
}

func (c *watched) Close() error {
	c.gone()
	return c.Conn.Close()
}
