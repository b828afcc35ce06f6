// Package servicecidr looks after the ranges that cluster IPs come from, and after the cluster IPs that were given out (KEP-1880).
//
// In: ServiceCIDRs, IPAddresses, Services. Out: ServiceCIDRs that are ready, and that stay while addresses of theirs are in use which no other has; the
// ServiceCIDR kubernetes, made anew should somebody take it away; IPAddresses deleted that no Service has, and made anew when a Service lost its own.
//
// It never gives a Service an address: the API server does, in the same moment in which it stores the Service. It leaves IPAddresses alone that others made.
package servicecidr
