package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"reflect"
	"testing"
)

// readBoth reads what an endpoint says as a usual answer and as net/http does. ok says whether it is a usual one.
func readBoth(data []byte, method string) (own, other *http.Response, err error, ok bool) {
	c := &conn{br: bufio.NewReaderSize(bytes.NewReader(data), 4096)}
	if own, ok = c.usual.read(c, method); !ok {
		return nil, nil, nil, false
	}
	other, err = http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), &http.Request{Method: method})
	return own, other, err, true
}

// What is read as a usual answer is what net/http reads, to the last byte.
func FuzzUsualAnswers(f *testing.F) {
	for _, s := range usualAnswers {
		f.Add([]byte(s), false)
	}
	for _, s := range unusualAnswers {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, head bool) {
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		own, other, err, ok := readBoth(data, method)
		if !ok {
			return
		}
		if err != nil {
			t.Fatalf("net/http does not take %q: %v", data, err)
		}
		if own.StatusCode != other.StatusCode || own.Status != other.Status || own.ContentLength != other.ContentLength || own.Close != other.Close || !reflect.DeepEqual(own.Header, other.Header) || len(other.Trailer) > 0 {
			t.Fatalf("%q:\nown      %+v\nnet/http %+v", data, own, other)
		}
		ownText, ownErr := io.ReadAll(own.Body)
		text, err := io.ReadAll(other.Body)
		if !bytes.Equal(ownText, text) || (ownErr == nil) != (err == nil) {
			t.Fatalf("%q: body %q (%v), net/http %q (%v)", data, ownText, ownErr, text, err)
		}
	})
}

var usualAnswers = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
	"HTTP/1.1 404\r\ncontent-length:0\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\n",
	"HTTP/1.1 500 So sorry\r\nConnection: keep-alive\r\nX: \t a b\t\r\nContent-Length: 10\r\n\r\nshort",
}

var unusualAnswers = []string{
	"HTTP/1.1 200 OK\r\n\r\nuntil the end",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\na\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nfine",
	"HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nfine",
	"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine",
	"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n folded: yes\r\n\r\nfine",
	"HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\nfine",
	"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 4\r\n\r\nfine",
	"HTTP/1.1 100 Continue\r\nContent-Length: 4\r\n\r\nfine",
	"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n",
	"HTTP/1.1 200 \n\r\nContent-Length:0\r\n\r\n",
	"HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nfine",
	"HTTP/1.1 +20 OK\r\nContent-Length: 4\r\n\r\nfine",
	"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine",
	"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n",
}

func TestOnlyUsualAnswersAreReadWithoutNetHTTP(t *testing.T) {
	for _, s := range usualAnswers {
		if _, _, _, ok := readBoth([]byte(s), http.MethodGet); !ok {
			t.Errorf("not read as usual: %q", s)
		}
		if _, _, _, ok := readBoth([]byte(s), http.MethodHead); ok {
			t.Errorf("read as usual, though no body follows: %q", s)
		}
	}
	for _, s := range unusualAnswers {
		if _, _, _, ok := readBoth([]byte(s), http.MethodGet); ok {
			t.Errorf("read as usual: %q", s)
		}
	}
}
