// Package spec turns a container of a Pod into an OCI runtime specification.
//
// In: the Pod, the container, the image's configuration, the user it resolves to, its environment, the mounts and namespaces made for it.
// Out: the specification that runc is to carry out, or an error that says what of the Pod cannot be done.
//
// It is pure: it looks at no file and at no process but what its Host says of the node.
package spec
