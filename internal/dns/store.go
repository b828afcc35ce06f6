package dns

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// store is what outlives the process: records.zone, place.json and config.json, each replaced as a whole.
type store struct{ dir string }

// placeFile says which addresses are held, and recordsFile holds the zone.
const (
	placeFile   = "place.json"
	recordsFile = "records.zone"
	configFile  = "config.json"
)

// load reads all of it. A missing file is nothing, and so is a damaged one: it is replaced by renaming, so only a crash of the whole machine
// can damage it, and then the cluster tells anew.
func (s store) load(domain string) (place, []dns.RR, error) {
	p, _, err := s.place()
	if err != nil {
		return p, nil, err
	}
	data, err := os.ReadFile(filepath.Join(s.dir, recordsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil, nil
	}
	if err != nil {
		return p, nil, fmt.Errorf("read the cluster's names of before: %w", err)
	}
	list := []dns.RR{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		rr, err := dns.NewRR(lines.Text())
		if err != nil || rr == nil {
			return p, nil, nil
		}
		name := strings.ToLower(rr.Header().Name)
		if dns.IsSubDomain(domain, name) || strings.HasSuffix(name, ".arpa.") { // of the same domain
			list = append(list, rr)
		}
	}
	return p, list, nil
}

func (s store) place() (p place, ok bool, err error) {
	data, err := os.ReadFile(filepath.Join(s.dir, placeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("read where the cluster's DNS was: %w", err)
	}
	if json.Unmarshal(data, &p) != nil {
		return place{}, false, nil
	}
	return p, true, nil
}

func (s store) saveJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.save(name, data)
}

func (s store) saveRecords(list []dns.RR) error {
	var b bytes.Buffer
	for _, rr := range list {
		b.WriteString(rr.String())
		b.WriteByte('\n')
	}
	return s.save(recordsFile, b.Bytes())
}

// config is the ConfigMap's data as it was last right.
func (s store) config() map[string]string {
	data, err := os.ReadFile(filepath.Join(s.dir, configFile))
	if err != nil {
		return nil
	}
	var out map[string]string
	if json.Unmarshal(data, &out) != nil {
		return nil
	}
	return out
}

func (s store) save(name string, data []byte) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	return nil
}

// Times of saving records.
const (
	// saveAfter is how much of what changed last may be forgotten by a crash.
	saveAfter = 2 * time.Second
	// saveShare bounds the part of the time that saving takes: a hundredth.
	saveShare = 100
)

// saver saves the records when they have changed, the less often the longer it takes.
type saver struct {
	s     *Server
	timer *time.Timer
	armed bool
	pause time.Duration
}

func newSaver(s *Server) *saver {
	v := &saver{s: s, timer: time.NewTimer(time.Hour), pause: saveAfter}
	v.timer.Stop()
	return v
}

func (v *saver) soon() {
	if !v.armed {
		v.armed = true
		v.timer.Reset(v.pause)
	}
}

func (v *saver) due() <-chan time.Time { return v.timer.C }

// now saves if anything has changed.
func (v *saver) now() {
	if !v.armed {
		return
	}
	v.armed = false
	began := time.Now()
	if err := v.s.kept.saveRecords(v.s.server.zone.all()); err != nil {
		v.s.log.Error("the cluster's names could not be kept for the next start", "err", err)
	}
	v.pause = max(saveAfter, saveShare*time.Since(began))
}
