// Package inventory knows the metadata of every object in the cluster, of kinds built in or added later.
//
// In: discovery and metadata watches. Out: which resources there are, the metadata of their objects, and an event for each change. It serves the
// garbage collector and the namespace controller, for which all kinds are alike. It writes nothing.
//
// One watch per resource that can be listed, watched and deleted. Where the process already watches a resource with its full objects, that cache is
// used; the others hold metadata only. Events (the kind) are left out: they own nothing, nobody owns them, and they change more than all else.
package inventory
