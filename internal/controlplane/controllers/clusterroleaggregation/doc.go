// Package clusterroleaggregation fills ClusterRoles that collect the rules of others, found by label: admin, edit, view, and those that users make.
//
// In: ClusterRoles. Out: the rules of those with an aggregationRule. It never touches a ClusterRole without one.
package clusterroleaggregation
