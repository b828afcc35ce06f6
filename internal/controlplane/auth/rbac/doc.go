// Package rbac decides by Roles and bindings: whether a user may do something, what a user may do in a namespace, and whether a user may hand out rights.
//
// In: the Roles, ClusterRoles and bindings of informers, and a request. Out: allowed with the binding that says so, or no opinion; a list of rules; or the
// rights that the user lacks.
//
// Rights only add up: the package never refuses what somebody else allows. It reads caches only, so that a request costs no read of etcd, and writes nothing.
package rbac
