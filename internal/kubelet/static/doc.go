// Package static reads static Pods: those that a node runs because their manifests are in a folder of its own, with or without a control plane.
//
// In: a folder of manifests, and the mirror Pods that the API has. Out: Pods, each with a UID that is a digest of what was read, so that another content is
// another Pod; an error with file and line for each manifest that is none; and what is to be done so that the API shows each static Pod as its mirror.
//
// It runs nothing and asks nobody. Rules of Pods that concern the cluster are the API server's: it applies them to the mirror, and the node says which line it refused.
package static
