// Package etcd runs the embedded etcd member that holds the cluster's working state.
//
// In: a data directory. Out: a client that calls the member's functions directly, without sockets.
//
// It never decides what is stored: keys and values belong to the API server. It listens on no network address; the member's
// sockets are unix sockets in the data directory, for etcdctl in an emergency.
package etcd
