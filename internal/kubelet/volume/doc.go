// Package volume makes the volumes of a Pod: directories on the node that its containers then mount.
//
// In: a Pod's volume definitions, and through a Source the ConfigMaps, Secrets, tokens, trust anchors, certificates and claims they name. Out: for each volume a path on the node.
//
// Setting a volume up again brings its content up to date, atomically for whoever reads it, and changes nothing if nothing changed.
// Tearing down works on what is found on disk and needs no definition, so it also cleans up after Pods that nobody remembers.
// It never fetches from the API itself, and never mounts anything into a container.
package volume
