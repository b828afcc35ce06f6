package iptables

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
)

// snapshot is what the kernel holds, as iptables-save printed it: the owner's chains, and which rules of any chain jump to one of them.
type snapshot struct {
	chains Chains
	jumps  map[Chain][]string // of chains that are not the owner's: their rules that jump to the owner's, in order
}

// parseSave reads the output of iptables-save and keeps what concerns chains that start with prefix.
func parseSave(out []byte, prefix string) (snapshot, error) {
	s := snapshot{chains: Chains{}, jumps: map[Chain][]string{}}
	var table Table
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch {
		case line == "" || line[0] == '#' || line == "COMMIT":
		case line[0] == '*':
			table = Table(line[1:])
		case table == "":
			return s, fmt.Errorf("iptables-save: line %d stands before the first table: %q", n, line)
		case line[0] == ':':
			if name, _, _ := strings.Cut(line[1:], " "); strings.HasPrefix(name, prefix) {
				s.chains[Chain{table, name}] = nil
			}
		case strings.HasPrefix(line, "-A "):
			name, rule, ok := strings.Cut(line[3:], " ")
			if !ok {
				continue
			}
			c := Chain{table, name}
			if strings.HasPrefix(name, prefix) {
				s.chains[c] = append(s.chains[c], rule)
			} else if strings.HasPrefix(target(rule), prefix) {
				s.jumps[c] = append(s.jumps[c], rule)
			}
		}
	}
	return s, lines.Err()
}

// target is the chain that a rule jumps to, without the target's own options.
func target(rule string) string {
	at := strings.LastIndex(rule, "-j ")
	if at < 0 {
		return ""
	}
	t, _, _ := strings.Cut(rule[at+3:], " ")
	return t
}
