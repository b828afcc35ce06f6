// Package accounttokens fills Secrets of the type kubernetes.io/service-account-token, the old way to a token that does not end, and removes them with their
// ServiceAccount.
//
// In: Secrets, ServiceAccounts, the cluster's CA and what signs tokens. Out: the Secrets' data. It never makes a Secret by itself: who wants such a token asks for it.
package accounttokens
