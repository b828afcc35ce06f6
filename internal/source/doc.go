// Package source brings Git in: it turns a repository URL, a ref and a path into Kubernetes objects that know where they came from.
//
// In: a URL (https, http, ssh, git or file), a branch, tag or commit, credentials, and a folder of the repository.
// Out: the commit at the ref, and its objects, each with commit, file and line, and with the line of each of its fields.
//
// The steps are separate on purpose. Git.Head asks the remote what the ref is now and fetches that commit, shallow and incremental, into a
// bare store on disk. Git.Read shows the commit as a file system that reads straight from the store's objects; there is no work tree. Parse, a pure function, turns
// files into objects; package render decides which, and puts kustomize and Helm between. A store is a cache: whatever a crash or a full disk left in it, the worst case is one fetch from nothing.
//
// It never talks to the cluster, never runs a git binary, never follows a path or a symbolic link out of the commit's tree, and never
// puts a credential in an error, a log line or a file.
package source
