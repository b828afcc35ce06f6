// Package step prepares what a Pod's containers live in, as steps: its directory, control group, volumes, namespaces, network, and the files that
// tell containers of it.
//
// In: a Pod and a directory of its own. Out: a Sandbox with paths, addresses and namespaces for the containers' specifications.
//
// Every step can be set up again from any point, whatever part of an earlier setup was done (also by a process that was killed in it), and torn down
// from any point, also when it was never set up. Setting up a Sandbox whose containers run changes nothing for them. Steps know nothing
// of containers, and whether to set up or tear down is decided elsewhere (package lifecycle).
package step
