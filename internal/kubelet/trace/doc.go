// Package trace tells where the time of Pods' starts goes.
//
// In: beginnings and ends of what is done for a Pod until it is ready, told by whoever does it. Out: the parts of the last Pods' starts.
//
// What is done is found by its context; without a start in it, and once the Pod is ready, nothing is noted.
package trace
