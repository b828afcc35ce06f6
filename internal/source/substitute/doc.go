// Package substitute replaces ${NAME} in rendered objects by values, as Flux does after it builds.
//
// In: an object's content, and values by name. Out: another content, or an error that names the field and the variable, but no value. It is pure.
//
// https://fluxcd.io/flux/components/kustomize/kustomizations/#post-build-variable-substitution
package substitute
