// Package ingressstatus tells the owners of Ingresses what nodes make of them.
//
// In: Ingresses and what they name, IngressClasses and Nodes, from the informers. Out: the IngressClass gitopsd, made when there is none of the name, as the
// default when there is no other; the addresses of the nodes in each Ingress' status; an Event at an Ingress for each thing that is wrong with it, once.
//
// What is wrong is what internal/ingress/translate finds, which nodes call as well: they serve, and this tells. It changes no class that it finds, and no
// Ingress of another controller's.
package ingressstatus
