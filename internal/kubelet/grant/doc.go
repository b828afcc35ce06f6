// Package grant puts what device plugins and drivers give a container into its specification: variables, mounts, device files, annotations, and devices by their
// names of the Container Device Interface (CDI), which are files in /etc/cdi and /var/run/cdi.
//
// In: a Grant and a specification. Out: the specification with it. Who is given what is decided elsewhere (packages devices and dra).
package grant
