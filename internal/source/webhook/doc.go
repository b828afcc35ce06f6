// Package webhook understands what Git hosts post when somebody pushes.
//
// In: an HTTP request. Out: a Push, handed to a function that says what it set off, and an answer to the host. A request is measured, counted and
// its signature checked before anything of it is believed.
//
// It never fetches, never waits for what a push sets off, and keeps nothing: a post that is repeated or forged costs one look at the
// repository that the Application itself names, because nothing else of the post is used.
package webhook
