// Package webhooktest is a server for tests that is asked about tokens and about what users may do, over TLS on loopback.
//
// In: a function that answers one review. Out: the kubeconfig by which the server is reached, and what it was asked.
package webhooktest
