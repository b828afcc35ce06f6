// Package systemnamespaces keeps the Namespaces that every cluster has: default, kube-system, kube-public and kube-node-lease,
// and gitopsd-system, where Applications are made.
//
// In: Namespaces from the informer. Out: those that are missing, created. It never deletes or changes a Namespace.
package systemnamespaces
