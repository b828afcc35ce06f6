// Package kustomize builds a folder with a kustomization.yaml.
//
// In: a commit's tree, the folder, and what the Application says on top of it. Out: the objects, each with the file and line of its resource, and with
// the patches and settings that changed it, so that a field can be traced to the line that gave it its value.
//
// The work has two halves. Gather walks the kustomizations, their bases and components, reads just the files that they name, and refuses what they must not ask for, with
// file and line. Build, which reads nothing any more, runs kustomize's own code over those files in memory. Bases in other repositories are fetched by the function that the caller
// gives, which decides what is allowed; kustomize itself reaches neither network nor disk, and runs no plugin and no program. Overlay is Build for objects that are there already.
package kustomize
