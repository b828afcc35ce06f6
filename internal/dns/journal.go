package dns

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"
)

// journal keeps the records on disk as they change. It is a file of sections, each the records that one owner has from then on:
//
//	; shop/web
//	web.shop.svc.cluster.local. 5 IN A 10.43.0.7
//	;
//
// A change is appended, so that a crash forgets nothing, and costs no more than what changed. What has been said anew since makes the file
// grow; it is written anew when it has grown to twice what it says. A section that a crash has cut short lacks its last line, and counts for nothing.
type journal struct {
	dir    string
	file   *os.File
	size   int
	bound  int
	broken bool // something could not be written: the whole is due
}

const sectionEnd = ";\n"

// minJournal is what is not worth writing anew for.
const minJournal = 1 << 20

func appendSection(b *bytes.Buffer, owner string, list []dns.RR) {
	b.WriteString("; " + owner + "\n")
	for _, rr := range list {
		b.WriteString(rr.String() + "\n")
	}
	b.WriteString(sectionEnd)
}

// readRecords reads sections, the last of each owner.
func readRecords(data []byte) map[string][]dns.RR {
	out := map[string][]dns.RR{}
	var owner string
	var list []dns.RR
	for line := range strings.Lines(string(data)) {
		if line == sectionEnd {
			if out[owner] = list; len(list) == 0 {
				delete(out, owner)
			}
			continue
		}
		if name, ok := strings.CutPrefix(line, "; "); ok {
			owner, list = strings.TrimSuffix(name, "\n"), nil
			continue
		}
		if rr, err := dns.NewRR(line); err == nil && rr != nil {
			list = append(list, rr)
		}
	}
	return out
}

// rewrite replaces the file by all there is.
func (j *journal) rewrite(z *zone) error {
	var b bytes.Buffer
	for owner, list := range z.all() {
		appendSection(&b, owner, list)
	}
	if err := (store{j.dir}).save(recordsFile, b.Bytes()); err != nil {
		return err
	}
	j.close()
	f, err := os.OpenFile(filepath.Join(j.dir, recordsFile), os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("keep %s: %w", recordsFile, err)
	}
	j.file, j.size, j.bound, j.broken = f, b.Len(), max(2*b.Len(), minJournal), false
	return nil
}

// changed notes what some owners have now.
func (j *journal) changed(z *zone, owners []string) error {
	if j.file == nil || j.broken || j.size > j.bound {
		return j.rewrite(z)
	}
	var b bytes.Buffer
	for _, owner := range owners {
		appendSection(&b, owner, z.of(owner))
	}
	n, err := j.file.Write(b.Bytes())
	if j.size += n; err != nil {
		j.broken = true
		return fmt.Errorf("keep %s: %w", recordsFile, err)
	}
	return nil
}

func (j *journal) close() {
	if j.file != nil {
		j.file.Close()
		j.file = nil
	}
}
