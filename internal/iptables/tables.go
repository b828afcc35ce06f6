package iptables

import (
	"maps"
	"slices"
	"strings"
)

// Table is one of the kernel's tables.
type Table string

// The tables in use.
const (
	Mangle Table = "mangle"
	Filter Table = "filter"
	NAT    Table = "nat"
)

// MaxChainName is the longest name of a chain: XT_EXTENSION_MAXNAMELEN of the kernel's x_tables.h, less the closing NUL.
const MaxChainName = 28

// Chain names one chain of one table.
type Chain struct {
	Table Table
	Name  string
}

// Chains maps a chain to its rules in order. A rule is what follows "-A <chain> " in the output of iptables-save, in the form that
// iptables-save itself prints; a differing form works as well but costs Verify one more round. A chain may have no rules.
type Chains map[Chain][]string

// Delta returns the input of "iptables-restore --noflush" that turns have into want: a chain that differs is emptied and written
// anew, a chain that is no longer wanted is deleted. The empty string means that nothing differs.
//
// Declaring a chain empties it, so every chain of a table is declared before the first rule, and deleted ones only after the last:
// a rule may jump to a chain that is new, and a chain cannot be deleted while a rule jumps to it.
func Delta(have, want Chains) string {
	var b strings.Builder
	for _, t := range []Table{Mangle, Filter, NAT} {
		var write, remove []string
		for c, rules := range want {
			if old, ok := have[c]; c.Table == t && (!ok || !slices.Equal(old, rules)) {
				write = append(write, c.Name)
			}
		}
		for c := range have {
			if _, ok := want[c]; c.Table == t && !ok {
				remove = append(remove, c.Name)
			}
		}
		if len(write)+len(remove) == 0 {
			continue
		}
		slices.Sort(write)
		slices.Sort(remove)
		b.WriteString("*" + string(t) + "\n")
		for _, list := range [][]string{write, remove} {
			for _, name := range list {
				b.WriteString(":" + name + " - [0:0]\n")
			}
		}
		for _, name := range write {
			for _, rule := range want[Chain{t, name}] {
				b.WriteString("-A " + name + " " + rule + "\n")
			}
		}
		for _, name := range remove {
			b.WriteString("-X " + name + "\n")
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// clone copies the map; rule slices are never written after they were handed over, so they are shared.
func (c Chains) clone() Chains { return maps.Clone(c) }

// Quote writes a string argument, such as a comment, as iptables-save prints it: bare when it holds only letters, digits, '_' and '-'.
func Quote(s string) string {
	bare := s != ""
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-') {
			bare = false
		}
	}
	if bare {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "'", `\'`).Replace(s) + `"`
}
