// Package endpointslice keeps the EndpointSlices of Services that have a selector.
//
// In: Services, Pods, Nodes and EndpointSlices from the informers. Out: EndpointSlices, computed and written by the published reconciler of
// k8s.io/endpointslice; those of Services that are gone are deleted. It never touches slices managed by others, and it never waits to
// gather changes: each Pod that becomes ready or stops being so is passed on at once.
package endpointslice
