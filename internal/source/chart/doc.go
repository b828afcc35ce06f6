// Package chart renders a Helm chart that lies in a folder of a Git repository.
//
// In: the folder's files, the values of the Application, and for which release. Out: files with the manifests, each under the path of the template that it comes
// from, definitions of kinds first; or a source.ParseErrors that names the template, line and column.
//
// It uses Helm's own template engine, so a chart means what it means to the helm program; without a cluster, so that lookup finds nothing, as in `helm template`.
// It never fetches a dependency, never runs a hook, and keeps nothing between two calls.
package chart
