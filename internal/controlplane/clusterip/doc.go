// Package clusterip says what the API server, which hands out cluster IPs, and the controller that looks after them agree on: which
// addresses a range has, which ServiceCIDRs may be given out from, and how an IPAddress says whose it is (KEP-1880).
//
// In: values. Out: values. It keeps nothing, and calls nobody.
package clusterip
