// Package registry is the table of the resources that the API server serves: one entry per resource, one file per API group.
//
// In: an etcd client and the entries. Out: storage for k8s.io/apiserver, which turns it into the HTTP API.
//
// The versioned types of k8s.io/api are stored and served as they are; there is no internal form. Where a kind has two versions one is stored
// and the other is a view of it (Events in two groups, HorizontalPodAutoscalers in two versions), turned by package conversion. What is
// particular to a kind stands in pure packages below this one (defaults, validation, columns) and in its entry; what all kinds share (the split
// of spec and status, generation, graceful deletion, field selectors, tables) is done here once.
//
// It never reconciles anything: whatever has to happen after an object was stored is a controller's work.
package registry
