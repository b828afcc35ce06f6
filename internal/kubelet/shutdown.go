package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/shutdown"
)

// Words of a Pod that a shutdown ends, and of one that comes too late: the kubelet's.
const (
	endedReason   = "Terminated"
	endedMessage  = "Pod was terminated in response to imminent node shutdown."
	refusedReason = "NodeShutdown"
	refusedText   = "Pod was rejected as the node is shutting down."
)

// going is a node's end of its Pods when its host goes down.
type going struct {
	stages []shutdown.Stage
	down   atomic.Bool // what the Node says of itself
	one    sync.Mutex  // held while Pods are ended; who asks meanwhile waits for it and finds nothing left to do
}

// followShutdowns listens for word that the host is about to go down.
func (d *daemon) followShutdowns(ctx context.Context, must func(func() error)) {
	must(func() error { return shutdown.Serve(ctx, d.cfg.DataDir, d.shutDown) })
	if len(d.going.stages) == 0 {
		return
	}
	logind := &shutdown.Logind{Needs: shutdown.Total(d.going.stages), Config: shutdown.ConfigDir, ShutDown: func(ctx context.Context) {
		text, err := d.shutDown(ctx)
		slog.Info("the host's shutdown was followed", "result", text, "err", err)
	}}
	must(func() error {
		logind.Run(ctx)
		return nil
	})
}

// shutDown takes no more Pods and ends those there are, in turns. The Node stays not ready afterwards, until this daemon starts anew. If ctx ends before,
// the shutdown is called off: the node takes Pods again, and those whose turn had not come run on.
func (d *daemon) shutDown(ctx context.Context) (string, error) {
	if len(d.going.stages) == 0 {
		return "", errors.New("this node ends no Pods for a shutdown; start it with --shutdown-grace-period 30s --shutdown-grace-period-critical-pods 10s, or what your Pods need")
	}
	d.going.one.Lock()
	defer d.going.one.Unlock()
	began := time.Now()
	d.going.down.Store(true)
	d.pods.Close(lifecycle.Stop{Reason: refusedReason, Message: refusedText})
	d.poke()
	turns := shutdown.Order(d.going.stages, d.pods.List())
	all, ended := 0, 0
	for _, turn := range turns {
		all += len(turn.Pods)
	}
	slog.Info("the host shuts down", "pods", all, "turns", len(turns))
	d.event("Shutdown", fmt.Sprintf("The host shuts down; Pods to end: %d", all))
	for _, turn := range turns {
		if ctx.Err() == nil {
			ended += d.endTurn(ctx, turn)
		}
	}
	if ctx.Err() != nil {
		d.going.down.Store(false)
		d.pods.Open()
		d.poke()
		return "", fmt.Errorf("%w; %d of %d Pods had ended", context.Cause(ctx), ended, all)
	}
	return fmt.Sprintf("%d of %d Pods have ended, in %s", ended, all, time.Since(began).Round(time.Millisecond)), nil
}

// endTurn ends Pods side by side, and tells how many have ended in their time.
func (d *daemon) endTurn(ctx context.Context, turn shutdown.Turn) int {
	end := time.Now().Add(turn.Period)
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	stop := lifecycle.Stop{Reason: endedReason, Message: endedMessage, Disruption: v1.PodReasonTerminationByKubelet, Until: end.Add(-turn.Reserve())}
	waits := make([]<-chan struct{}, len(turn.Pods))
	for i, p := range turn.Pods {
		waits[i] = d.pods.Stop(p.UID, stop)
	}
	ended := 0
	for i, p := range turn.Pods {
		select {
		case <-waits[i]:
			ended++
			if err := d.node.Status.Flush(ctx, p.UID); err != nil {
				slog.Warn("the API could not be told how a Pod ended before the host goes down; it is when the node is back", "pod", p.Namespace+"/"+p.Name, "err", err)
			}
		case <-ctx.Done():
			slog.Warn("a Pod has not ended in the time there is", "pod", p.Namespace+"/"+p.Name)
		}
	}
	return ended
}
