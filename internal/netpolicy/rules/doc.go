// Package rules decides which connections a node's Pods may have, as NetworkPolicies say.
//
// In: NetworkPolicies, the node's own Pods, the labels of Namespaces, and the Pods that policies name as peers. Out: Guards, each the same
// rules for a number of own Pods, and the addresses that the peers of those rules have just now. A Pod without a Guard for a direction may
// connect, or be connected to, as it likes.
//
// It never touches the kernel, and its types know neither iptables nor sets of it. The meaning is that of the API's own comments
// (k8s.io/api/networking/v1): policies add up, an empty selector selects everything, an absent one nothing, an empty list of peers or
// ports means all of them.
package rules
