// Package authorization strings together those who decide what a user may do.
//
// In: an AuthorizationConfiguration, or flags that name one webhook; the deciders that this API server brings (nodes, roles). Out: one authorizer that asks
// them in order until one allows or denies, and the rules that it knows of a user.
//
// The configuration file is followed: a change counts as soon as it is valid, and until then what was in force stays in force.
// The package itself decides nothing about any user.
package authorization
