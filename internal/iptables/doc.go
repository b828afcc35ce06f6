// Package iptables brings a set of own chains into the kernel and keeps it there.
//
// In: Tables, the chains that are wanted, as rules in the words of iptables-save; and the Jumps that lead into them from the
// kernel's own chains. Out: one iptables-restore per change that sends only the chains that differ, each table in one
// transaction; a Verify that reads the kernel's rules back and repairs what somebody else edited, and a Heal
// that does so only when the kernel says that somebody did; a Cleanup that removes all of it.
//
// It never decides what a rule should say, and never touches a chain whose name does not start with its owner's prefix, other than
// to add or remove a jump to one that does.
package iptables
