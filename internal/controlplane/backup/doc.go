// Package backup keeps a copy of a control plane: what is in etcd, and the keys without which that is of no use.
//
// In: a control plane's data directory, of one that runs or not. Out: a file; and from such a file a data directory. The file is a tar archive with
//
//	etcd.db          a snapshot of etcd, with its checksum
//	pki/             the cluster's keys and certificates, and the keys that Secrets are encrypted with
//	webhook-secret   what Git hosts sign their calls with
//	sha256sums       of all these, as sha256sum writes them: the file is complete
//
// It holds no volumes: their data is on the nodes. It never replaces keys, and what was in etcd before a restore is kept beside. A restore that was
// cut short is seen by the directory etcd.restoring, and no control plane starts in a data directory that is half restored.
package backup
