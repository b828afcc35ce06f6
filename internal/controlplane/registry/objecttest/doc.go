// Package objecttest lets tests write API objects as a whole one and the few fields in which the next differs from it.
//
// In: an object in YAML, and changes as a YAML mapping from field paths to values, such as
//
//	spec.containers[0].image: ""
//	metadata.labels[app.kubernetes.io/name]: shop
//	spec.nodeName: null
//
// where null takes the field away, and an index one past the end of a list adds to it.
// Out: the typed object, decoded as strictly as the API server can, so that a slip in test data fails the test.
//
// It is for tests only, and never fills in what the object leaves out unless it is asked to.
package objecttest
