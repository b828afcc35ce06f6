// Package pki makes and keeps the keys of a cluster: its certificate authority, the certificates signed by it, and the key that signs ServiceAccount tokens.
//
// In: the folder pki of the data directory. Out: certificates, and the hash of the authority's key by which a joining node recognizes it.
//
// It never talks to anyone; certificates of nodes are signed by the controller of CertificateSigningRequests, with the authority given here.
package pki
