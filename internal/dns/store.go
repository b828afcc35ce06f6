package dns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"
)

// store is what outlives the process: place.json and config.json, each replaced as a whole, and the records; see journal.
type store struct{ dir string }

// placeFile says which addresses are held, and recordsFile holds the zone.
const (
	placeFile   = "place.json"
	recordsFile = "records.zone"
	configFile  = "config.json"
)

// load reads place and records. A missing file is nothing.
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
	for _, rrs := range readRecords(data) {
		for _, rr := range rrs {
			// Of a node that had another domain before, nothing is left.
			if name := rr.Header().Name; dns.IsSubDomain(domain, name) || strings.HasSuffix(name, ".arpa.") {
				list = append(list, rr)
			}
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
