// Command operator is an operator as people write them, built on sigs.k8s.io/controller-runtime, for the end-to-end tests: it runs in a Pod, and nothing in it
// knows of gitopsd. Its chart, which the tests push, is in the folder chart.
//
// In: Sites (sites.example.com/v1), each an image, a number of replicas, and the name under which it is listed. Out: for each Site a Deployment that it owns,
// conditions in its status, and its entry in the ConfigMap directory. The entry belongs to no Site, so a finalizer takes it away.
//
// It elects a leader by a Lease, and never touches what it did not make.
package main
