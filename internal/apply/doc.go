// Package apply carries a plan out: it turns objects from Git into requests to the Kubernetes API, and the API's answers into results.
//
// In: objects with their origin, and a plan made by package diff. Out: the cluster changed accordingly, the live objects as the server
// returned them, and errors that name file, line, object and field.
//
// Nothing is written before the whole plan has passed the server's own validation in a dry run. Then objects are applied in an order in which
// each finds what it needs, several at a time, by server-side apply as field manager "gitopsd"; what Git dropped is deleted in the reverse order.
// An object that is already as Git wants it is not written.
//
// It never decides what is to be done, never retries, keeps no state, and never deletes an object that does not carry the mark of the
// Application it acts for.
package apply
