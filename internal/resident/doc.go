// Package resident gives back memory that a process holds but does not need.
//
// In: nothing. Out: fewer resident pages. It never changes what a process does, only what it keeps in memory while doing it.
package resident
