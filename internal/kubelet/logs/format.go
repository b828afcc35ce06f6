package logs

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// Stream is where a container wrote something.
type Stream string

// The streams of a container; one with a terminal has only Stdout.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// MaxLine is the longest text of one log line; longer ones are split and marked partial, as the CRI's other implementations do.
const MaxLine = 16 << 10

// timeFormat has a fixed width, so that lines of one file sort.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// appendLine appends one line in the CRI log format to buf:
// https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
func appendLine(buf []byte, t time.Time, s Stream, text []byte, partial bool) []byte {
	buf = t.UTC().AppendFormat(buf, timeFormat)
	buf = append(buf, ' ')
	buf = append(buf, s...)
	if partial {
		buf = append(buf, " P "...)
	} else {
		buf = append(buf, " F "...)
	}
	buf = append(buf, text...)
	return append(buf, '\n')
}

// Line is one line of a log file.
type Line struct {
	Time    time.Time
	Stream  Stream
	Partial bool // the text goes on in the stream's next line
	Text    []byte
}

var errFormat = errors.New("is not in the CRI log format")

// parseLine reads one line, without its newline; Text is part of b.
func parseLine(b []byte) (Line, error) {
	stamp, rest, ok := bytes.Cut(b, []byte{' '})
	stream, rest, ok2 := bytes.Cut(rest, []byte{' '})
	tags, text, ok3 := bytes.Cut(rest, []byte{' '})
	if !ok || !ok2 || !ok3 {
		return Line{}, fmt.Errorf("log line %.40q %w", b, errFormat)
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Line{}, fmt.Errorf("log line %.40q %w: its time is not", b, errFormat)
	}
	l := Line{Time: t, Stream: Stream(stream), Text: text}
	if l.Stream != Stdout && l.Stream != Stderr {
		return Line{}, fmt.Errorf("log line %.40q %w: unknown stream %q", b, errFormat, stream)
	}
	first, _, _ := bytes.Cut(tags, []byte{':'})
	switch string(first) {
	case "P":
		l.Partial = true
	case "F":
	default:
		return Line{}, fmt.Errorf("log line %.40q %w: unknown tag %q", b, errFormat, tags)
	}
	return l, nil
}
