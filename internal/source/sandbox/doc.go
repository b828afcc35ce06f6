// Package sandbox does work that strangers' text decides the cost of, such as the rendering of templates, in a process of its own.
//
// In: a job's input, as a value. Out: its output; or an error when the job took more time or memory than it may, or ended the process.
//
// The process is this program again, started with an empty environment, a bound on its memory, and, where that is permitted, without any network. It serves one job after another, is killed
// when one takes too long, and ends when it is idle or when this process is gone. A program has to call Main first thing for that; in one that does not, and in tests of other packages, jobs are done in the
// process itself, bounded by their context alone.
package sandbox
