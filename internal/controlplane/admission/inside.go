package admission

import "context"

type insideKey struct{}

// Inside marks a request as one that this process makes itself, over the transport without a socket. A request's context is made by whoever accepts the
// request, never by its sender, so nothing that is sent can carry the mark: no user name, no impersonation, no field manager.
func Inside(ctx context.Context) context.Context { return context.WithValue(ctx, insideKey{}, true) }

func isInside(ctx context.Context) bool {
	inside, _ := ctx.Value(insideKey{}).(bool)
	return inside
}
