// Package probe asks running containers whether they are started, ready and alive.
//
// In: the probes of a container as its Pod declares them, where it can be reached, and a way to run a command in it. Out: calls that tell
// when a judgement changed, and one for every failed check.
//
// What a row of results means is decided by Counter, which knows no time. This package never stops or restarts anything.
package probe
