// Package columns says how objects look as rows of a table, as `kubectl get` prints them.
//
// In: an object. Out: one cell per column of its kind's Table: text, or a whole number. Columns of priority 1 are shown
// with `-o wide` only, but every row has them.
//
// It never reads the cluster, and never formats for a width: the client aligns and cuts. The one thing that it asks for
// besides the object is the time of day, for ages.
package columns
