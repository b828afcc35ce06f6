// Package hangup tells that a client went away whose connection net/http no longer looks at: one that was taken over for streams.
//
// In: a request. Out: the same with a context that ends with its connection.
package hangup
