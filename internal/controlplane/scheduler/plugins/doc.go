// Package plugins holds what the scheduler asks about a Pod and a node: one file per filter or score.
//
// In: a Pod and a node of the snapshot. Out: may it run there, and if not, why, in words; how good is it there. A plugin reads the snapshot
// and nothing else; it knows no client, no clock and no other plugin.
//
// A filter answers three questions, each in its own method: does it apply to this Pod (Prepare), does this node pass (Check.Passes), and what does a
// failure mean (Check.Explain). A fourth says when asking again is worth it (Filter.Helped). The words of Explain are those that users of
// Kubernetes know from "kubectl describe pod".
package plugins
