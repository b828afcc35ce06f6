// Package aggregation is the head of the chain of API servers, with k8s.io/kube-aggregator: it sends each request to the server that an APIService
// names for its group and version, which is one in this process, or one in a Pod.
//
// In: the configuration that all servers of the chain share, the next server, and CustomResourceDefinitions. Out: a server, an APIService for every
// local group and version, and in kube-system what an API server in a Pod needs in order to believe this one.
//
// It never serves a resource itself other than APIServices.
package aggregation
