package proxy

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// deadlines notes what the client's time was set to.
type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// Who sends a body may learn late that nobody wants its rest. A read that began then would wait for the client, with the answer; and once the exchange has
// ended, the time that is set is the next request's.
func TestABodyThatIsOverWaitsForNoClient(t *testing.T) {
	streams := func() (*body, *deadlines) {
		d := &deadlines{ResponseWriter: httptest.NewRecorder()}
		return &body{kind: streamedBody, length: -1, from: strings.NewReader("text"), rc: http.NewResponseController(d)}, d
	}
	p := make([]byte, 2)
	b, d := streams()
	b.interrupt()
	if n, err := b.Read(p); n != 2 || err != nil {
		t.Errorf("a body that goes to another endpoint, nothing of it having been read: %d, %v", n, err)
	}
	b.interrupt()
	if n, err := b.Read(p); n != 0 || !errors.Is(err, errOver) || !d.set[len(d.set)-1].Equal(past) {
		t.Errorf("read after it was interrupted: %d, %v, the client's time being %v", n, err, d.set)
	}
	b, d = streams()
	b.end()
	_, err := b.Read(p)
	b.interrupt()
	if !errors.Is(err, errOver) || len(d.set) > 0 {
		t.Errorf("read after its end: %v, and the client's time was set to %v", err, d.set)
	}
}
