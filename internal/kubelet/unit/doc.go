// Package unit has systemd run the node daemon.
//
// In: the program, the flags that it is to have. Out: the program and a unit file in their places, and systemd told of them, where it runs. It knows nothing of what
// the daemon does.
package unit
