// Package ingress serves Ingresses on a node.
//
// In: Ingresses, IngressClasses, Services and EndpointSlices from the informers, and the Secrets that the Ingresses name, each followed by itself, since a
// node may read no other. Out: HTTP and HTTPS at two ports of the node; an Event at the Node when a port is taken, with by whom.
//
// What routes there are is decided in translate, where a request goes in routes, and it is passed on in proxy. This package tells none of them what to do:
// it observes, calls and listens. It never writes to an Ingress: what is wrong with one is told by the control plane's controller ingressstatus, once and
// not by every node.
package ingress
