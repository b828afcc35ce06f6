// Package apiserverendpoints makes the API server reachable as the Service default/kubernetes.
//
// In: the cluster IP of that Service, the addresses and port the API server is advertised at, and the Service and its EndpointSlice from the
// informers. Out: both objects, made again when deleted and set right when changed. It never touches another Service.
package apiserverendpoints
