package pod

import (
	"context"
	"net/netip"
	"time"
)

// drainPatience bounds how long a Pod that is deleted is kept from hearing of it while clients are still sent to it. Endpoints are taken
// away within tens of milliseconds; only on a control plane in trouble does this run out.
const drainPatience = 5 * time.Second

// awaitDrained waits until no new connection is sent to the Pod, so that a program which closes its port as soon as it is told to stop fails no
// client. It takes at most half of the grace period, and no time for a Pod that no Service leads to.
func (w *worker) awaitDrained(ctx context.Context, ip string, grace time.Duration) {
	addr, err := netip.ParseAddr(ip)
	if err != nil || w.node.Drained == nil || grace <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(drainPatience, grace/2))
	defer cancel()
	if err := w.node.Drained(ctx, addr); err != nil {
		w.log.Warn("the Pod is told to stop though clients may still be sent to it", "err", err)
	}
}
