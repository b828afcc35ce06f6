package source

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
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
	if wait, ok := retryAfter(res, time.Now()); ok {
		_ = res.Body.Close() // it is not read, so nothing is lost
		return nil, &Error{Reason: RateLimited, Message: fmt.Sprintf("the server answered %s, and wants no request for %s", res.Status, wait.Round(time.Second)), RetryAfter: wait}
	}
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

// maxRetryAfter bounds how long a server may send us away.
const maxRetryAfter = time.Hour

// retryAfter says whether a server wants to be left alone, and for how long; RFC 9110, section 10.2.3.
func retryAfter(res *http.Response, now time.Time) (time.Duration, bool) {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable && res.StatusCode != http.StatusForbidden {
		return 0, false
	}
	text := res.Header.Get("Retry-After")
	wait := time.Duration(0)
	if n, err := strconv.Atoi(text); err == nil {
		wait = time.Duration(min(n, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	} else if res.StatusCode == http.StatusTooManyRequests {
		wait = time.Minute // it does not say
	}
	return min(wait, maxRetryAfter), wait > 0
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
