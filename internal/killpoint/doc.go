// Package killpoint names the moments of a sync at which a test kills the process, to prove that the next one goes on from there.
//
// In: the name of a moment. Out: nothing, or the end of the process, by SIGKILL and so without any clean-up. Only programs built with the tag killpoints
// can die of it; in all others Reach is empty.
package killpoint

// Points are the moments, in the order in which a sync with hooks, waves and something to prune passes them.
var Points = []string{
	"fetched",      // the commit is in the store
	"rendered",     // its objects are known
	"preflighted",  // the server would take all of them
	"begun",        // the rollout is written down
	"hook-started", // a hook's object is there, and nothing says so yet
	"hook-ended",   // it is written down how a hook ended, and its object is still there
	"inventory",    // what is about to be written is written down
	"object",       // one object of several is written
	"applied",      // a step's objects are written, and nothing says so yet
	"next-step",    // one step is done, and nothing says so yet
	"pruned",       // what Git dropped is gone, and the inventory still has it
	"finished",     // all is done, and the status does not say so yet
	"status",       // the status says so
}
