// Package server assembles the API server: storage on the embedded etcd, the registry of resources, authentication, authorization, admission and the
// HTTP handlers of k8s.io/apiserver, served with TLS and, for this process's own components, without a network in between.
//
// In: the data directory and the addresses to serve on. Out: the Kubernetes API, and a client configuration for components of this process.
//
// It never runs a controller: what changes objects later does it through the API, like everybody else.
package server
