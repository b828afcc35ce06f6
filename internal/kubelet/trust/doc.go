// Package trust gives Pods the certificates of authorities that the cluster's ClusterTrustBundles hold.
//
// In: ClusterTrustBundles, watched from the first time that a Pod asks for one; what a Pod's volume selects of them. Out: one list of certificates,
// in PEM, without repetitions; and a call whenever a bundle changed.
//
// It verifies nothing: what stands in a bundle was checked when the API took it in.
package trust
