// Package podstate answers questions about one Pod that several controllers ask: is it ready, available, active, terminating?
//
// In: a Pod, and the time where time matters. Out: an answer. It never reads anything else and changes nothing.
package podstate
