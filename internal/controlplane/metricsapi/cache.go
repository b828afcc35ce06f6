package metricsapi

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

const (
	// fresh is how long figures are given out without asking the node again.
	fresh = 10 * time.Second
	// stale is when the reading before says nothing about the present any more. A rate is told between two readings: then two are taken.
	stale = time.Minute
	// between is the time from one such reading to the next; nodes tell no rate over less than half a second.
	between = time.Second
	// patience is how long a node may take; one that hangs must not hold up the figures of the others for longer.
	patience = 5 * time.Second
	// sideBySide bounds how many nodes are asked at once.
	sideBySide = 16
)

// Fetch asks a node for its report, as its daemon serves it at /stats/summary.
type Fetch func(ctx context.Context, node string) ([]byte, error)

// cache keeps the last figures of every node that was asked for.
type cache struct {
	fetch  Fetch
	flight singleflight.Group
	mu     sync.Mutex
	nodes  map[string]figures
}

// get returns the figures of the named nodes; those that do not answer are left out.
func (c *cache) get(ctx context.Context, nodes []string) map[string]figures {
	out := make(map[string]figures, len(nodes))
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(sideBySide)
	for _, n := range nodes {
		g.Go(func() error {
			f, err := c.one(ctx, n)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				out[n] = f
			}
			return nil
		})
	}
	_ = g.Wait()
	return out
}

// keep forgets the nodes that are not among those that exist.
func (c *cache) keep(exists map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := range c.nodes {
		if !exists[n] {
			delete(c.nodes, n)
		}
	}
}

func (c *cache) one(ctx context.Context, node string) (figures, error) {
	c.mu.Lock()
	last, ok := c.nodes[node]
	c.mu.Unlock()
	age := time.Since(last.at)
	if ok && age < fresh {
		return last, nil
	}
	// Whoever asks first may go away before the others: the request is nobody's own.
	ctx = context.WithoutCancel(ctx)
	v, err, _ := c.flight.Do(node, func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		window := age
		if !ok || age > stale {
			if _, err := c.report(ctx, node); err != nil {
				return nil, err
			}
			select {
			case <-time.After(between):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			window = between
		}
		s, err := c.report(ctx, node)
		if err != nil {
			return nil, err
		}
		f := read(s, window)
		// The node's clock may differ from this one's, by which age is measured.
		f.at = time.Now()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.nodes[node] = f
		return f, nil
	})
	if err != nil {
		return figures{}, err
	}
	return v.(figures), nil
}

func (c *cache) report(ctx context.Context, node string) (*statsv1.Summary, error) {
	text, err := c.fetch(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("figures of node %s: %w", node, err)
	}
	s := &statsv1.Summary{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("figures of node %s: %w", node, err)
	}
	return s, nil
}
