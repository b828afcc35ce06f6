// Package appset makes the Applications that one of Argo CD's ApplicationSets stands for. Its spec and the tree of the repository it is in come in; out go Applications
// of Argo CD, each as it would be written by hand. Of the generators it knows those that need nothing but the commit: list, git (directories and files of the same
// repository), clusters (this one), matrix and merge. It never asks anything else, so the same commit gives the same Applications.
//
// Templates are filled in by a sandbox.Job, since a loop in one is a few characters.
package appset
