// Package render makes an Application's objects out of a commit.
//
// In: a commit's tree, the Application's path and its words about rendering, and what may be needed beside the commit: keys, variables, and functions that fetch what the
// Application names. Out: objects that know their origin, or a source.ParseErrors.
//
// It finds out what the path is (plain manifests, kustomize, or a Helm chart), decrypts what is encrypted as it is read, has the right package make the objects, and
// replaces variables in them. It reads nothing but the tree and what those functions give, writes nothing, and keeps nothing between two calls.
package render
