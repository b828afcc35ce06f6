// Package lifecycle decides what a Pod needs next.
//
// In: an Input, which holds the Pod as the API has it, what has been observed of its sandbox and of each container, and the present time.
// Out: a Decision, which holds the actions to carry out now, the status to report, and the time at which to ask again if nothing happens before.
//
// It never does anything: no clock, no goroutine, no client. The same Input always gives the same Decision, so any interleaving
// of exits, probes, failures, deletions and restarts of the daemon can be written down as text (see testdata).
package lifecycle
