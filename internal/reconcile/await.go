package reconcile

import (
	"context"
	"time"
)

// patience is how long a worker waits for something before another takes its turn.
const patience = 50 * time.Millisecond

// caller is the key under which a Func's context has the Loop that calls it.
type caller struct{}

// Await calls f, which waits for something outside of this process. Where a Loop's Func does so and it takes long, the Loop works on other keys meanwhile, however
// many of its calls wait: one host that is silent must not hold up what has nothing to do with it. ctx is the Func's, or made from it, and f's is made from that.
func Await(ctx context.Context, f func(context.Context)) {
	l, ok := ctx.Value(caller{}).(*Loop)
	if !ok {
		f(ctx)
		return
	}
	replaced := make(chan struct{})
	timer := time.AfterFunc(patience, func() {
		<-l.turns
		l.hire()
		close(replaced)
	})
	defer func() {
		if !timer.Stop() {
			<-replaced
			l.spare.Add(1)
			l.turns <- struct{}{}
		}
	}()
	f(context.WithValue(ctx, caller{}, nil)) // its turn can be given to another only once
}
