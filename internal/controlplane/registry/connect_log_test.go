package registry

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestTheEndOfALogComesAloneSoThatNoReaderDropsItsLastLines(t *testing.T) {
	r := &endAlone{io.NopCloser(iotest.DataErrReader(strings.NewReader("container is alive\n")))}
	p := make([]byte, 64)
	if n, err := r.Read(p); n != 19 || err != nil {
		t.Errorf("first read: %d bytes, %v, want all 19 and no end yet", n, err)
	}
	if n, err := r.Read(p); n != 0 || err != io.EOF {
		t.Errorf("second read: %d bytes, %v, want the end", n, err)
	}
}
