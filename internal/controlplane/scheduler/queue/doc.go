// Package queue orders the Pods that wait for a node.
//
// In: Pods, why they were turned away, events that may help them, and the time as a value. Out: the next Pod to look at, or all waiting members of its
// gang, and when there will be one. A Pod is in one of three places: active (to be looked at now, by priority and then age), backing off (to be looked
// at after a while, because it failed not long ago), or parked (turned away everywhere, or its gang is not there yet, and nothing has happened since that
// could help). It has no lock, timer or goroutine.
package queue
