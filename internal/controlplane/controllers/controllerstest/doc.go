// Package controllerstest starts what tests of controllers need: a whole API server over a real etcd, clients, one informer factory and a recorder.
//
// In: a test. Out: an Env. It starts no controller: the test chooses.
package controllerstest
