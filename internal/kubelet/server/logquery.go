package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	daemon "github.com/gitopsd/gitopsd/internal/kubelet/unit"
)

// logQuery is what of the logs of services and files of the host is asked for, by the parameters that KEP-2258 has for it.
type logQuery struct {
	services, files []string
	since, until    time.Time
	tail            int  // lines; negative for all
	boot            *int // 0 is the present one, -1 the one before
	pattern         *regexp.Regexp
}

const (
	logQueryTime  = 30 * time.Second
	logQueryTail  = 100_000
	logQueryLine  = 1 << 20 // bytes that a line of a file may have
	logQueryNames = 4
)

var serviceName = regexp.MustCompile(`^[A-Za-z0-9_.:@\\][A-Za-z0-9_.:@\\-]*$`)

// parseLogQuery reads them, and says what is wrong with them.
func parseLogQuery(v url.Values) (logQuery, error) {
	q := logQuery{tail: -1}
	if n := len(v["query"]); n > logQueryNames {
		return q, fmt.Errorf("query: %d services and files are asked for, and no more than %d can be", n, logQueryNames)
	}
	for _, name := range v["query"] {
		switch {
		case strings.Contains(name, "/"):
			q.files = append(q.files, strings.TrimPrefix(name, "/"))
		case serviceName.MatchString(name):
			q.services = append(q.services, name)
		default:
			return q, fmt.Errorf("query: %q is no service's name; a file's has a / in it, as in /syslog", name)
		}
	}
	for name, to := range map[string]*time.Time{"sinceTime": &q.since, "untilTime": &q.until} {
		if text := v.Get(name); text != "" {
			t, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return q, fmt.Errorf("%s: must be a time as in RFC 3339, got %q", name, text)
			}
			*to = t
		}
	}
	if text := v.Get("tailLines"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > logQueryTail {
			return q, fmt.Errorf("tailLines: must be a whole number from 0 to %d, got %q", logQueryTail, text)
		}
		q.tail = n
	}
	if text := v.Get("boot"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n > 0 {
			return q, fmt.Errorf("boot: must be 0 for the present one, or -1, -2, … for those before, got %q", text)
		}
		q.boot = &n
	}
	if text := v.Get("pattern"); text != "" {
		p, err := regexp.Compile(text)
		if err != nil {
			return q, fmt.Errorf("pattern: %w", err)
		}
		q.pattern = p
	}
	if len(q.files) > 0 {
		if err := q.suitsFiles(); err != nil {
			return q, err
		}
	}
	return q, nil
}

// suitsFiles says what cannot be asked of a file: nobody knows when its lines were written.
func (q logQuery) suitsFiles() error {
	if !q.since.IsZero() || !q.until.IsZero() || q.boot != nil {
		return errors.New("sinceTime, untilTime and boot are for services whose log is in the journal; a file's lines can be asked for by tailLines and pattern")
	}
	return nil
}

// journal is how journalctl(1) is asked for a service's log.
func (q logQuery) journal(service string) []string {
	const layout = "2006-01-02 15:04:05"
	args := []string{"--utc", "--no-pager", "--output=short-precise", "--unit=" + service}
	if !q.since.IsZero() {
		args = append(args, "--since="+q.since.UTC().Format(layout))
	}
	if !q.until.IsZero() {
		args = append(args, "--until="+q.until.UTC().Format(layout))
	}
	if q.tail >= 0 {
		args = append(args, "--lines="+strconv.Itoa(q.tail))
	}
	if q.boot != nil {
		args = append(args, "--boot="+strconv.Itoa(*q.boot))
	}
	if q.pattern != nil {
		args = append(args, "--grep="+q.pattern.String())
	}
	return args
}

// file copies what is asked for of a file's lines. Which are the last ones is counted first, so that none has to be kept.
func (q logQuery) file(in io.ReadSeeker, out io.Writer) error {
	skip := 0
	if q.tail >= 0 {
		n := 0
		if err := q.lines(in, func([]byte) error { n++; return nil }); err != nil {
			return err
		}
		skip = max(0, n-q.tail)
		if _, err := in.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	return q.lines(in, func(line []byte) error {
		if skip > 0 {
			skip--
			return nil
		}
		_, err := out.Write(append(line, '\n'))
		return err
	})
}

// lines calls f for each line that the pattern is in.
func (q logQuery) lines(in io.Reader, f func(line []byte) error) error {
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, logQueryLine)
	for scan.Scan() {
		if q.pattern != nil && !q.pattern.Match(scan.Bytes()) {
			continue
		}
		if err := f(scan.Bytes()); err != nil {
			return err
		}
	}
	return scan.Err()
}

// answer sends the logs of services, from the journal if that knows them and otherwise from the files that are called after them, and those of files.
func (q logQuery) answer(ctx context.Context, root *os.Root, w http.ResponseWriter) {
	ctx, cancel := context.WithTimeout(ctx, logQueryTime)
	defer cancel()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	complain := func(about string, err error) {
		slog.Debug("a log of the host could not be sent", "log", about, "err", err)
		fmt.Fprintf(w, "%s: %v\n", about, err) // some may have been sent already
	}
	known, err := inJournal(ctx)
	if err != nil {
		complain("journal", err)
	}
	for _, s := range q.services {
		unit := s
		if s == "kubelet" && !known[s] {
			unit = strings.TrimSuffix(daemon.Service, ".service")
		}
		if known[unit] {
			cmd := exec.CommandContext(ctx, "journalctl", q.journal(unit)...)
			cmd.Stdout, cmd.Stderr = w, w
			if err := cmd.Run(); err != nil {
				complain(s, err)
			}
			continue
		}
		if err := q.suitsFiles(); err != nil {
			complain(s, err)
			continue
		}
		if err := q.find(root, w, s+".log", s+"/"+s+".log", s); err != nil {
			complain(s, err)
		}
	}
	for _, name := range q.files {
		if err := q.find(root, w, name); err != nil {
			complain(name, err)
		}
	}
}

// find copies of the first file that is there.
func (q logQuery) find(root *os.Root, out io.Writer, names ...string) error {
	for _, name := range names {
		f, err := openNow(root, name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return err
		}
		defer f.Close()
		if info, err := f.Stat(); err != nil || info.IsDir() {
			continue
		}
		return q.file(f, out)
	}
	return fmt.Errorf("it is neither in the journal nor among the files %s of %s", strings.Join(names, ", "), root.Name())
}

// inJournal are the services that the host's journal has lines of, if it has one.
func inJournal(ctx context.Context) (map[string]bool, error) {
	if _, err := exec.LookPath("journalctl"); err != nil {
		return nil, nil
	}
	out, err := exec.CommandContext(ctx, "journalctl", "--field=_SYSTEMD_UNIT").Output()
	known := map[string]bool{}
	for unit := range strings.FieldsSeq(string(out)) {
		if name, ok := strings.CutSuffix(unit, ".service"); ok {
			known[name] = true
		}
	}
	return known, err
}
