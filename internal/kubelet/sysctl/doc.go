// Package sysctl says which kernel parameters a Pod may set.
//
// In: a Pod, and what the node's operator allows beyond what is safe. Out: why the Pod may not run, or nothing. It sets none: the runtime does, in the Pod's namespaces.
package sysctl
