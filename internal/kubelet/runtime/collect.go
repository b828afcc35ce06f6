package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/containerd/containerd/v2/core/leases"

	"github.com/gitopsd/gitopsd/internal/logging"
)

// collectDelay is how long containerd's own collector is given, and how long removals that follow each other share a collection.
const collectDelay = 5 * time.Second

// collectTimeout bounds one collection; a host's containerd may have other people's images to go through.
const collectTimeout = time.Minute

// Collect has containerd delete the files of the snapshots that were removed, until ctx ends.
//
// Removing a snapshot only takes it out of containerd's records. Its directory goes with the next garbage collection, and containerd forgets to do one for
// what was removed while the last was ending: it compares the time of the removal with that of the collection's end, not of its beginning. On a node with nothing more to do
// the directory, and all that the container wrote, would stay.
func (r *Runtime) Collect(ctx context.Context) {
	var told logging.News
	r.removedSome() // a daemon that was killed may have removed some
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.removed:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(collectDelay):
		}
		select {
		case <-r.removed: // since the last look; this collection is theirs too
		default:
		}
		err := r.collect(ctx)
		if told.New(err) && ctx.Err() == nil {
			slog.Warn("having containerd delete the files of removed containers failed; it is tried again until it succeeds", "err", err)
		}
		if err != nil {
			r.removedSome()
		}
	}
}

// removedSome tells that there is something to collect.
func (r *Runtime) removedSome() {
	select {
	case r.removed <- struct{}{}:
	default:
	}
}

// collect has one collection done that begins after the call. The API has no call for it but as a part of giving a lease back.
func (r *Runtime) collect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	all := r.Client.LeasesService()
	l, err := all.Create(ctx, leases.WithRandomID(), leases.WithExpiration(2*collectTimeout))
	if err != nil {
		return fmt.Errorf("asking containerd for a garbage collection: %w", err)
	}
	if err := all.Delete(ctx, l, leases.SynchronousDelete); err != nil {
		return fmt.Errorf("waiting for containerd's garbage collection: %w", err)
	}
	return nil
}
