package runtime

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/typeurl/v2"
)

// Exit is the end of a container's first process.
type Exit struct {
	ID     string
	Status uint32
	At     time.Time
}

// Exits calls f for each container that ends, until the connection breaks or ctx ends. connected is called once the subscription stands:
// whoever lists the containers after that misses nothing.
func (r *Runtime) Exits(ctx context.Context, connected func(), f func(Exit)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ch, errs := r.Client.EventService().Subscribe(ctx, fmt.Sprintf(`topic=="/tasks/exit",namespace==%q`, Namespace))
	// The subscription is in place at the daemon when it answers a later call on the same connection.
	if _, err := r.Client.Version(ctx); err != nil {
		return fmt.Errorf("containerd: %w", err)
	}
	connected()
	for {
		select {
		case err := <-errs:
			return fmt.Errorf("containerd events: %w", err)
		case e := <-ch:
			v, err := typeurl.UnmarshalAny(e.Event)
			if err != nil {
				continue // of a newer daemon; exits have had this form from the beginning
			}
			if x, ok := v.(*events.TaskExit); ok && x.ContainerID == x.ID {
				f(Exit{ID: x.ContainerID, Status: x.ExitStatus, At: x.ExitedAt.AsTime()})
			}
		}
	}
}
