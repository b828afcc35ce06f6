// Package userns says which of the host's user and group IDs a Pod with a user namespace of its own has (hostUsers: false, KEP-127).
//
// In: a Pod's directory. Out: a Range of 65,536 IDs that no other Pod of the node has, the same one each time until it is given back. What was given is a file in
// the Pod's directory, so that it outlives the daemon, and goes with the Pod. Which ranges there are is decided from the host's /etc/subuid and /etc/subgid
// (Decide, pure). Nothing here makes a namespace or a mount.
package userns
