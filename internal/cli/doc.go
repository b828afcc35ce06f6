// Package cli writes what gitopsd's commands say: aligned tables for people, JSON and YAML for programs.
//
// In: Applications and plans as values, the time, and a writer. Out: text, and the exit status that says in one number what the text says.
// It never talks to a server, never reads flags, and colours only when it is told to.
package cli
