// Package translate says in Applications what a commit says in Flux's and Argo CD's own objects, so that a repository which was written for one of them is
// applied as it is. Objects come in as they were rendered, and go out with each Kustomization, HelmRelease and Application of theirs replaced by an Application
// of ours, and each description of a source by a ConfigMap in which other Applications find it. Every object that is made keeps the file and line of the one
// that it stands for. A field that would change what is applied, and that nothing here is like, is an error with file and line; one that only tunes the
// other tool is left out, and named in an annotation of the Application.
//
// It never asks a server but through the function that finds sources which the commit does not have, and it never decides whether an object is to be translated:
// where the cluster serves the kind, its own controllers are there to work on it.
package translate
