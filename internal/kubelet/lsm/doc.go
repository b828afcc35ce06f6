// Package lsm finds what Linux security modules, AppArmor and SELinux, are to confine a container with.
//
// In: what the host has, and what a Pod asks for. Out: the name of an AppArmor profile and SELinux labels for the container's specification, or why the Pod cannot be
// run here. It loads AppArmor's default profile; all others are the operator's.
package lsm
