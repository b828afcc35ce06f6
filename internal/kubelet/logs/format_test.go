package logs

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestALineReadsBackAsItWasWritten(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	for _, want := range []Line{
		{at, Stdout, false, []byte("hello")},
		{at, Stderr, true, []byte(" leading and trailing ")},
		{at, Stdout, false, []byte("")},
		{at, Stdout, false, []byte("not \xff utf-8")},
	} {
		b := appendLine(nil, want.Time, want.Stream, want.Text, want.Partial)
		got, err := parseLine(bytes.TrimSuffix(b, []byte("\n")))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-written +read):\n%s", b, diff)
		}
	}
}

func TestOtherLinesAreNoLogLines(t *testing.T) {
	for _, s := range []string{"", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z stdout", "2026-01-02T03:04:05Z stdout F", "yesterday stdout F x", "2026-01-02T03:04:05Z stdin F x", "2026-01-02T03:04:05Z stdout X x"} {
		if l, err := parseLine([]byte(s)); err == nil {
			t.Errorf("%q was read as %+v", s, l)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte("2016-10-06T00:17:09.669794202Z stdout F The content"))
	f.Add([]byte("2016-10-06T00:17:09.669794202Z stderr P:x y"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseLine(b)
		if err != nil || bytes.ContainsRune(b, '\n') {
			return
		}
		again, err := parseLine(bytes.TrimSuffix(appendLine(nil, l.Time, l.Stream, l.Text, l.Partial), []byte("\n")))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(l, again, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); diff != "" {
			t.Errorf("written and read again it differs (-first +again):\n%s", diff)
		}
	})
}
