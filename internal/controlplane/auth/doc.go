// Package auth decides who makes a request of the API server and whether they may.
//
// In: client certificates, join tokens and ServiceAccount tokens; a request's attributes. Out: a user, and allowed or not with the reason.
//
// The decision about a node (node.go) is pure: it is made from the request and from which Pods the node has, as a lister tells.
// Tokens that others issue are judged by package authentication, and the order in which deciders are asked is that of package authorization.
// The package never stores anything and issues nothing but ServiceAccount tokens.
package auth
