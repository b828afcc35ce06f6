// Package shop is the example repo's application as its developers and users see it: they edit files and push, wait until it is out, and
// send requests to its address.
//
// In: a cluster whose repository holds example-repo. Out: commits, and what users got.
//
// It uses only what any developer has: Git, the Kubernetes API, and the nodes' addresses.
package shop
