// Package translate makes routes of Ingresses.
//
// In: Ingresses, IngressClasses, Services, EndpointSlices and the Secrets that the Ingresses name. Out: a routes.Table, and what is wrong with each
// Ingress, in words for its owner. What is wrong with one takes nothing from another.
//
// It knows no API client and no sockets, and keeps nothing. Nodes and the control plane call it alike: those to serve, that to tell by Events.
package translate
