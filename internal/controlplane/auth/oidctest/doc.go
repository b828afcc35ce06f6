// Package oidctest is an OpenID Connect issuer for tests: discovery and keys over TLS on loopback, and tokens signed with those keys.
//
// In: the claims of a token. Out: the token, and where and how the issuer is reached. It never judges a token.
package oidctest
