// Package server assembles the API server: storage on the embedded etcd, the registry of resources, authentication, authorization, admission and the
// HTTP handlers of k8s.io/apiserver, with custom resources behind them and the aggregator in front, served with TLS and, for this process's own
// components, without a network in between.
//
// In: the data directory and the addresses to serve on. Out: the Kubernetes API, a client configuration for components of this process, and the
// informers that they share.
//
// It never runs a controller, apart from those by which the API's libraries keep their own kinds (definitions, APIServices, fairness): what changes
// objects later does it through the API, like everybody else.
package server
