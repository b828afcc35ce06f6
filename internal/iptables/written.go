package iptables

import "strings"

// Written is what a Writer has sent to the kernel since it was made: the rules, and the bytes of all that was given to iptables-restore.
type Written struct{ Rules, Bytes uint64 }

// Written tells what has been sent.
func (w *Writer) Written() Written {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written
}

// count adds the input of an iptables-restore.
func (s *Written) count(input string) {
	s.Rules += uint64(strings.Count(input, "\n-A "))
	s.Bytes += uint64(len(input))
}
