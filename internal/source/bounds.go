package source

import (
	"io"
	"net/http"
	"strings"
)

// Bounds on what a Git server may send. A server is trusted with the desired state, not with the control plane's memory and disk.
const (
	maxErrorBytes   = 4 << 10  // an error page
	maxListingBytes = 64 << 20 // a ref listing: about a million refs
	maxPackBytes    = 4 << 30  // one fetch
)

// boundedBodies ends each response body with an error once it is longer than any honest answer.
type boundedBodies struct{ next http.RoundTripper }

func (b boundedBodies) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	limit := int64(maxPackBytes)
	switch {
	case res.StatusCode >= 300:
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxErrorBytes), res.Body}
		return res, nil
	case strings.HasSuffix(req.URL.Path, "/info/refs"):
		limit = maxListingBytes
	}
	res.Body = &boundedBody{ReadCloser: res.Body, left: limit}
	return res, nil
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, failf(Unreachable, "the Git server's answer is longer than any honest one; refused")
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}
