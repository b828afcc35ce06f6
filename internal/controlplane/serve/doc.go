// Package serve runs a whole control plane: the API server, then the controllers, the scheduler and the GitOps engine as its clients.
//
// In: the options of `gitopsd serve`. Out: a running control plane until its context ends, and in the data directory the files by which others
// reach it: admin.kubeconfig, node-token, webhook-secret.
//
// It only assembles. Nothing here decides anything about an object.
package serve
