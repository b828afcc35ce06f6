// Package gitserver is a Git host in small: repositories over smart HTTP, and a webhook after each push.
//
// In: a folder of bare repositories, requests of Git clients, and where to announce pushes. Out: what git http-backend answers, and one
// signed POST for each branch that a push moved.
//
// It has no accounts: whoever reaches its address may push. It is meant for a network that is cut off from everything else.
package gitserver
