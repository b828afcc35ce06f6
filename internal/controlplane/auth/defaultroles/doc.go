// Package defaultroles holds the roles and bindings that clients of Kubernetes expect in every cluster (cluster-admin, admin, edit, view, system:discovery, …), and
// puts them there.
//
// In: a client. Out: the roles and bindings, with what was taken away from them put back; what somebody added to them stays. One with the annotation
// rbac.authorization.kubernetes.io/autoupdate: "false" is left alone.
//
// It decides nothing about requests, and never removes a right.
package defaultroles
