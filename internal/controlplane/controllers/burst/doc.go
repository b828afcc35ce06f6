// Package burst sends many writes in parallel, without asking too much of the API server, or asking it in vain.
//
// In: how many writes there are, and a function that sends the i-th. Out: the first error. It knows nothing of what is written.
package burst
