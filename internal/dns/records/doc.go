// Package records says which DNS records a Service has.
//
// In: a Service, its EndpointSlices and the cluster's domain. Out: the records of the Kubernetes DNS specification 1.1, and those by which
// a zone tells about itself.
//
// It knows no sockets and no API client, keeps nothing, and never fails: what cannot be a name or an address is left out, as the API
// server's validation has refused it anyway.
package records
