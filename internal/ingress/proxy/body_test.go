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

// hesitant sends so much at a time, and notes the room that it was given in proportion to what it had sent.
type hesitant struct {
	sent, most int
	step       int
}

func (h *hesitant) Read(p []byte) (int, error) {
	h.most = max(h.most, len(p)-4*h.sent)
	n := min(len(p), h.step)
	for i := range n {
		p[i] = byte(h.sent + i)
	}
	h.sent += n
	return n, nil
}

// A length that is told costs nothing yet: a client has to send what takes memory.
func TestABodyTakesMemoryAsItComes(t *testing.T) {
	for _, length := range []int{1, firstRead, firstRead + 1, bufferedBody} {
		h := &hesitant{step: 100}
		p, err := readWhole(h, length)
		if err != nil || len(p) != length {
			t.Fatalf("%d bytes: %d, %v", length, len(p), err)
		}
		for i := range p {
			if p[i] != byte(i) {
				t.Fatalf("%d bytes: the one at %d is wrong", length, i)
			}
		}
		if h.most > firstRead {
			t.Errorf("%d bytes: %d were given that nobody had sent", length, h.most)
		}
	}
}
