// Package bootstraptokens removes join tokens that have expired.
//
// In: Secrets of type bootstrap.kubernetes.io/token from the informer, and the time. Out: the expired ones, deleted. It never makes or
// prolongs a token; a token without an expiration, or with one that is no time, stays.
package bootstraptokens
