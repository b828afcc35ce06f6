// Package configfile reads the configuration files that have a kind of apiserver.config.k8s.io, as kube-apiserver's do.
//
// In: the content of a file, as YAML or JSON in any version of the group. Out: the configuration, or an error that says what was found instead. What the
// configuration says is not judged here.
package configfile
