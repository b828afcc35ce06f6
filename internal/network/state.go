package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
)

// state is all that must outlive the process. It is one small file, replaced as a whole.
type state struct {
	// Pods by UID. An entry is written before the first interface is made and removed after the last is gone.
	Pods map[string]record `json:"pods"`
	// Last is the address given out last, per range.
	Last map[netip.Prefix]netip.Addr `json:"last"`
}

// record is one Pod's share of the network.
type record struct {
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	IPs       []netip.Addr `json:"ips"`
	HostPorts []HostPort   `json:"hostPorts,omitempty"`
	// NetNS and Plugins are the Pod's namespace and the configuration of the CNI plugins that made its interface there, if they did.
	NetNS   string          `json:"netns,omitempty"`
	Plugins json.RawMessage `json:"plugins,omitempty"`
}

// used maps every address that is taken to its Pod's UID.
func (s state) used() map[netip.Addr]string {
	m := make(map[netip.Addr]string, len(s.Pods))
	for uid, r := range s.Pods {
		for _, ip := range r.IPs {
			m[ip] = uid
		}
	}
	return m
}

func stateFile(dir string) string { return filepath.Join(dir, "pods.json") }

// loadState reads the file; a missing one is an empty state. So is one that was cut short: it is replaced by renaming, so only a crash of
// the whole machine can damage it, and that took the namespaces of all Pods with it, too.
func loadState(dir string) (state, error) {
	s := state{Pods: map[string]record{}, Last: map[netip.Prefix]netip.Addr{}}
	data, err := os.ReadFile(stateFile(dir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return s, fmt.Errorf("read the Pod network's state: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		slog.Warn("the Pod network's state is damaged, starting with none", "file", stateFile(dir), "err", err)
		return state{Pods: map[string]record{}, Last: map[netip.Prefix]netip.Addr{}}, nil
	}
	if s.Pods == nil {
		s.Pods = map[string]record{}
	}
	if s.Last == nil {
		s.Last = map[netip.Prefix]netip.Addr{}
	}
	return s, nil
}

// save replaces the file in one step. It does not wait for the disk: see loadState for why a file that survives the process is enough.
func (s state) save(dir string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	tmp := stateFile(dir) + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("write the Pod network's state: %w", err)
	}
	if err := os.Rename(tmp, stateFile(dir)); err != nil {
		return fmt.Errorf("replace the Pod network's state: %w", err)
	}
	return nil
}
