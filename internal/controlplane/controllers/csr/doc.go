// Package csr decides about CertificateSigningRequests and signs them with the cluster's CA.
//
// In: CertificateSigningRequests and Nodes from the informers, the CA's certificate and key, the time. Out: the conditions Approved, Denied and
// Failed, each with a reason; certificates; and old requests deleted. Nodes' own client and serving certificates are approved without
// a human, everything else waits for one. It never signs what it has not checked against the signer's rules, not even when a human approved it.
//
// The rules of each signer are those that the Kubernetes documentation gives for it ("Certificates and Certificate Signing Requests").
package csr
