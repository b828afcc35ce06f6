// Package diff says how the cluster differs from Git, field by field, and what would have to be done about it.
//
// In: objects as Git wants them, the same objects as the cluster has them with their managedFields, and the list of what the Application made
// before. Out: the fields that Git sets and whose live value is another, each with who holds it now; and a plan: create, update, prune,
// release or leave each object.
//
// Only fields that Git sets count. A default that the server filled in, a replica count that Git leaves to an autoscaler and a label that
// somebody added are nobody's drift. How a list is merged, by which keys or as a whole, is read off the managedFields of the live object
// itself, so the package needs no schema and works for every custom resource.
//
// It is pure: it imports no client, reads no clock and changes nothing that it is given.
package diff
