// Package logs carries what containers write from their FIFOs to files in the CRI format, and reads those files back.
//
// In: named pipes that a container's shim writes to. Out: <pod log directory>/<container>/<attempt>.log, rotated, each line as
// "<RFC 3339 time> stdout|stderr F|P <text>"; and, for `kubectl logs`, what of them was asked for.
//
// The collecting is done by a process of its own (`node logger`), one per node: it goes on when the node daemon is killed, so no container ever
// blocks on a full pipe or loses a line for that, and starting a container costs one message to it instead of a logging process per container
// (which the shim's binary:// scheme would need: 25 MB and a program start each). The shims hold the pipes open as well, so when the
// collector itself dies nothing is lost either: its successor finds the pipes in its directory and reads on.
//
// This package knows nothing of Pods: a stream is a directory with pipes and a file to write to.
package logs
