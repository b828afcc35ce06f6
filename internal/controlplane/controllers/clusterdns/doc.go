// Package clusterdns makes the Service kube-system/kube-dns, at whose address every node answers DNS questions itself (internal/dns).
//
// In: the address that is reserved for it, that Service, and the ConfigMap coredns-custom from the informers. Out: the Service, made again when
// deleted and its ports set right when changed; and an Event at the ConfigMap when nodes cannot understand it.
//
// A Service of that name that somebody else makes, such as CoreDNS' own with its selector, is left alone, and so are its addresses. It never
// touches another Service and never writes to the ConfigMap.
package clusterdns
