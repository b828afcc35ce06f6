// Package podgc removes Pods that nobody else will ever finish with.
//
// In: Pods and Nodes from the informers, and the time. Out: Pods deleted without grace: those whose Node no longer exists, those being deleted on a
// Node whose owner has declared it out of service, those being deleted before they were ever bound, and the oldest finished ones beyond a number.
// It never force-deletes a Pod merely because its Node is silent: its containers may be running there, and a second copy might do harm.
package podgc
