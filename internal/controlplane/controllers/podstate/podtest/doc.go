// Package podtest writes Pods in one line, for test data that is to be read as documentation.
//
// In: a line such as "web-a node=n1 ready=10m age=1h cost=5 terminating". Out: the Pod. It is imported by tests only.
package podtest
