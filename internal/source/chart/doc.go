// Package chart renders Helm charts, and fetches those that lie in a Helm repository or an OCI registry.
//
// In: the folder's files, the values of the Application, and for which release. Out: files with the manifests, each under the path and with the lines of the template that it comes
// from and of the values that it was filled in with, definitions of kinds first; or a source.ParseErrors that names the template, line and column.
//
// It uses Helm's own template engine, so a chart means what it means to the helm program; without a cluster, so that lookup finds nothing, as in `helm template`.
// Rendering is pure: it fetches nothing, runs no hook, and keeps nothing between two calls. RenderApart does it in a process of its own, because a loop in a template is a few characters. A
// Fetcher brings charts, checks their digests, and keeps the last few in memory.
package chart
