// Package controllerrevision keeps the history of a Pod template: one ControllerRevision for each template that a StatefulSet or a DaemonSet has had.
//
// In: the owner with its template now, and the revisions it has. Out: the revision of the template now, made or found again with a number above all others;
// revisions adopted and released; those beyond the owner's limit deleted. A revision holds its template as a strategic merge patch of the owner
// ({"spec":{"template":{…,"$patch":"replace"}}}), byte for byte as kubectl makes it, so that `kubectl rollout history` and `undo` read it.
//
// It never looks at Pods, and never changes what a revision holds. Which revisions are in use only the owner's controller knows, and says when it trims.
// A cache that is late shows an owner what it has itself written nevertheless, so two revisions never get one number.
//
// A controller calls, in one pass:
//
//	own, err := h.List(ctx, owner, live)        // the revisions, oldest first
//	now, err := h.Record(ctx, owner, own)       // now.Revision is that of owner.Template; now.Collisions goes into the status
//	…                                           // make Pods of Template(now.Revision), label them
//	err = h.Trim(ctx, owner, now.All, inUse)    // inUse: the names of revisions that Pods or the status refer to
package controllerrevision
