// Package identity is who the node is to the cluster: how it comes to trust the API server, and its certificates.
//
// In: a join token, once; a directory that keeps what came of it. Out: a client configuration for the API, and a TLS configuration for the node's own server.
//
// The token holds the hash of the cluster's CA key, so the node knows the right API server before it has any certificate, and tells its secret to
// no other. With the token it asks for a client certificate; with that for a serving certificate; both are renewed when four fifths of their life are over. A node
// that has a valid certificate needs no token. This package registers nothing.
package identity
