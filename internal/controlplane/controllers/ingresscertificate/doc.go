// Package ingresscertificate gets certificates for Ingresses from a certificate authority by ACME (RFC 8555), where their owners ask for it by annotation.
//
// In: Ingresses of the nodes' class with gitopsd.io/acme, and the Secrets that their spec.tls names. Out: those Secrets, with a certificate that is valid for a while
// yet; Events at the Ingresses for what is wrong; the account's key, in a Secret; and what identifies the account, at the IngressClass gitopsd. By that every
// node answers the authority's questions itself (routes.Table.Challenge): no node orders, and nothing has to reach one before it is asked.
//
// What is to be done is decided anew from the objects each time (decide.go): a control plane that ends amid an order begins another. It writes no Secret that it
// has not made, deletes none, and never logs or tells a key.
package ingresscertificate
