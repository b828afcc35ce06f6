// Package endpoints keeps the older kind of object, Endpoints, and EndpointSlices telling the same story.
//
// In: Services, EndpointSlices and Endpoints from the informers. Out, for a Service with a selector, and for default/kubernetes: an Endpoints object for
// clients that still read those, made from the slices. Out, for a Service without: slices that mirror the Endpoints somebody wrote by hand, since nodes
// and DNS read slices only.
//
// It never looks at a Pod, and never touches a slice that it does not manage.
package endpoints
