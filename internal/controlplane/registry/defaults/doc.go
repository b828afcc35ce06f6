// Package defaults fills in the fields that a client left out, to the values that the API's own documentation promises.
//
// In: an object as it was decoded from a request or from etcd. Out: the same object, completed in place; what was set stays
// as it was. Defaulting an object twice is the same as defaulting it once, because every read from storage passes here again.
//
// It never refuses an object (validation does), never reads the cluster or the clock, and sets nothing that has to be
// allocated: cluster IPs, IP families, node ports, UIDs, the namespace's finalizer and the default ServiceAccount belong to
// the registry and to admission.
package defaults
