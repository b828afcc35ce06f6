// Package deletions remembers who deleted which object lately: an object that is gone has no annotation that could say so.
//
// Requests to the API come in through Record, on their way to the handlers. Questions are answered by Who. It is memory only and bounded:
// nothing may depend on an answer being there.
package deletions
