// Package servertest starts a whole API server for tests: in process, over a real etcd in a temporary directory, served with TLS on loopback.
//
// In: a test. Out: client configurations. It never starts a controller; tests of controllers start those they test.
package servertest
