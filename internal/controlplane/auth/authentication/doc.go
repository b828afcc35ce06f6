// Package authentication believes tokens that others issue: OpenID Connect issuers, and a webhook that is asked about tokens.
//
// In: an AuthenticationConfiguration or the --oidc-… flags that mean one, the kubeconfig of a webhook, a bearer token. Out: the user that the token names, and
// which paths may be asked for without any credential.
//
// The issuers' keys are fetched in the background; a token that comes before they are there is refused. The configuration file is followed: a change
// counts when all of its issuers answer, and until then, or when it is wrong, what was in force stays in force.
// The package never judges the tokens that this cluster issues itself.
package authentication
