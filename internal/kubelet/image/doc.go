// Package image makes container images present on the node and knows those that are.
//
// In: references as Pods write them, pull policies, pull secrets, registries and mirrors, archives in a directory.
// Out: an Image per reference, with what creating a container needs (configuration, top snapshot, users), all of it in memory, so that
// starting a container from a present image asks nothing of the content store.
//
// It never retries and never waits between tries: a failure is a value with the reason that kubectl users know, and the Pod's lifecycle decides when to ask again.
package image
