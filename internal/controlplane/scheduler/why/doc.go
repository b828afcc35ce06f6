// Package why says why a Pod has no node, and what change would give it one; of a Pod that has one, why it is there.
//
// In: a Pod, what the API server knows of the cluster, and the scheduler's configuration. Out: a Report, and its text. It reads the cluster by a client
// of its own and asks the filters and scores that the scheduler itself asks, on a snapshot of its own: no lock of the running scheduler is held
// for it, it works while the control plane's scheduler is busy or stopped, and with the rights of who asks. What the scheduler has decided and not yet
// written is therefore not in it; that is a matter of milliseconds. It changes nothing.
package why
