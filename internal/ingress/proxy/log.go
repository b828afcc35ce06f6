package proxy

import (
	"bufio"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// AccessLog writes a line per request, in the form of ingress-nginx' log, some at a time.
type AccessLog struct {
	mu   sync.Mutex
	w    *bufio.Writer
	stop chan struct{}
	done chan struct{}
}

// NewAccessLog begins a log. What is written reaches to within a second.
func NewAccessLog(to io.Writer) *AccessLog {
	l := &AccessLog{w: bufio.NewWriterSize(to, 64<<10), stop: make(chan struct{}), done: make(chan struct{})}
	go l.flush()
	return l
}

func (l *AccessLog) flush() {
	defer close(l.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.stop:
			return
		}
		l.mu.Lock()
		_ = l.w.Flush() // a disk that is full keeps no request from being answered
		l.mu.Unlock()
	}
}

// Close writes what is left.
func (l *AccessLog) Close() error {
	close(l.stop)
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Flush()
}

// write adds an exchange: client - user [time] "request" status bytes "referer" "agent" seconds [backend] endpoint.
func (l *AccessLog) write(x *exchange, took time.Duration) {
	quoted := func(b []byte, s string) []byte { return strconv.AppendQuote(b, s) } // no client writes a line of its own
	user, _, ok := x.r.BasicAuth()
	if !ok || x.policy == nil || x.policy.Auth == nil {
		user = "-"
	} else {
		user = strconv.Quote(user)
	}
	b := make([]byte, 0, 512)
	b = x.client.AppendTo(b)
	b = append(b, " - "...)
	b = append(b, user...)
	b = append(b, " ["...)
	b = x.began.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	b = append(b, "] "...)
	b = quoted(b, strings.TrimSpace(x.r.Method+" "+x.r.RequestURI+" "+x.r.Proto)) // empty, as nginx has it, where nothing could be read
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(x.status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, x.sent, 10)
	b = append(b, ' ')
	b = quoted(b, x.r.Referer())
	b = append(b, ' ')
	b = quoted(b, x.r.UserAgent())
	b = append(b, ' ')
	b = strconv.AppendFloat(b, took.Seconds(), 'f', 3, 64)
	b = append(b, ' ')
	b = quoted(b, x.r.Host)
	b = append(b, " ["...)
	if x.backend != nil {
		b = append(b, x.backend.Key...)
	}
	b = append(b, "] "...)
	if x.endpoint != nil {
		b = append(b, x.endpoint.name...)
	} else {
		b = append(b, '-')
	}
	b = append(b, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.w.Write(b)
}
