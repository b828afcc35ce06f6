// Package backup keeps a copy of a control plane: what is in etcd, and the keys without which that is of no use.
//
// In: a control plane's data directory, of one that runs or not. Out: a file; and from such a file a data directory. The file is a tar archive with
//
//	etcd.db          a snapshot of etcd, with its checksum
//	pki/             the cluster's keys and certificates, and the keys that Secrets are encrypted with
//	webhook-secret   what Git hosts sign their calls with
//
// It holds no volumes: their data is on the nodes. It never replaces keys, and what was in etcd before a restore is kept beside.
package backup
