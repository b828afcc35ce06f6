package apply

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/health"
	"github.com/gitopsd/gitopsd/internal/killpoint"
)

// Result is one object that was written.
type Result struct {
	// Live is the object as the server returned it.
	Live *unstructured.Unstructured
	// Created and Updated say what the write did; neither is true when the object was already as desired.
	Created, Updated bool
}

// Apply writes changes in order, several of one class at a time, and stops after the class in which something failed. It returns what was
// written also when it fails; the error is then an Errors.
func (c *Cluster) Apply(ctx context.Context, changes []Change, standIn string) (map[diff.Key]Result, error) {
	byClass := make([][]Change, classes)
	for _, ch := range changes {
		k := classOf(ch.Object.Ref.Group, ch.Object.Ref.Kind)
		byClass[k] = append(byClass[k], ch)
	}
	done := make(map[diff.Key]Result, len(changes))
	for k, group := range byClass {
		if len(group) == 0 {
			continue
		}
		if err := c.applyClass(ctx, group, done); err != nil {
			return done, err
		}
		if class(k) == classDefinition {
			if err := c.afterDefinitions(ctx, group, changes, standIn); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

func (c *Cluster) applyClass(ctx context.Context, group []Change, done map[diff.Key]Result) error {
	var mu sync.Mutex
	var errs Errors
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, ch := range group {
		g.Go(func() error {
			live, removed, err := c.write(gctx, ch)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				for _, e := range explain(ch.Object.Source, err) {
					e.Removed = removed
					errs = append(errs, e)
				}
				return nil
			}
			killpoint.Reach("object")
			done[ch.Object.Key] = Result{
				Live:    live,
				Created: ch.LiveVersion == "",
				Updated: ch.LiveVersion != "" && live.GetResourceVersion() != ch.LiveVersion,
			}
			return nil
		})
	}
	_ = g.Wait() // errors are collected
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// write applies one object. removed says that something had to go first and was deleted, also when the object could not be written then.
func (c *Cluster) write(ctx context.Context, ch Change) (live *unstructured.Unstructured, removed bool, err error) {
	removed = len(ch.successorOf) > 0
	if err := c.makeWay(ctx, ch); err != nil {
		return nil, removed, err
	}
	live, err = c.patch(ctx, ch.Object, ch.desired(), false)
	if c.mayReplace(ch.Object) && apierrors.IsInvalid(err) {
		var replaced bool
		live, replaced, err = c.replace(ctx, ch, err)
		removed = removed || replaced
	}
	return live, removed, err
}

// makeWay removes the Services whose numbers a Service takes over.
func (c *Cluster) makeWay(ctx context.Context, ch Change) error {
	for _, r := range ch.successorOf {
		if _, err := c.remove(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// afterDefinitions waits until new kinds are served, and then does for the objects of those kinds what Preflight could not do.
func (c *Cluster) afterDefinitions(ctx context.Context, definitions, changes []Change, standIn string) error {
	for _, d := range definitions {
		if err := c.established(ctx, d.Object); err != nil {
			return err
		}
	}
	c.mapper.Forget()
	var deferred []Change
	for _, ch := range changes {
		if ch.Object.Deferred {
			ch.Object.Deferred = false
			deferred = append(deferred, ch)
		}
	}
	if len(deferred) == 0 {
		return nil
	}
	return c.preflightRedefined(ctx, deferred, standIn)
}

// servesWithin is how long the API server may take until it judges by a definition that was changed, and again the time between two looks: a changed definition
// is established all along, so there is no event that says when it is served.
const servesWithin, again = 3 * time.Second, 50 * time.Millisecond

// preflightRedefined is Preflight for objects whose definition has just been written. What it refuses may only be what the older definition refuses.
func (c *Cluster) preflightRedefined(ctx context.Context, changes []Change, standIn string) error {
	end := time.Now().Add(servesWithin)
	for {
		err := c.Preflight(ctx, changes, standIn)
		if err == nil || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return err
		}
	}
}

// patience bounds every wait for the cluster in the midst of an apply. What takes longer is tried again later, so that no Application keeps others from their turn.
const patience = 10 * time.Second

// established waits for the watch event that says so.
func (c *Cluster) established(ctx context.Context, o *Object) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if o.Resource.GroupResource() != (schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}) {
		return nil
	}
	w, err := c.of(o.Resource, "").Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", o.Ref.Name).String()})
	if err != nil {
		return explain(o.Source, err)
	}
	defer w.Stop()
	last := "no word from the API server"
	for {
		select {
		case <-ctx.Done():
			return Errors{{Source: o.Source, Message: "the new kind is not served yet: " + last, Temporary: true, Err: ctx.Err()}}
		case e, open := <-w.ResultChan():
			if !open {
				return Errors{{Source: o.Source, Message: "the API server ended the watch before the new kind was served", Temporary: true}}
			}
			u, ok := e.Object.(*unstructured.Unstructured)
			if !ok || e.Type == watch.Error {
				return Errors{{Source: o.Source, Message: fmt.Sprintf("the API server ended the watch before the new kind was served: %v", e.Object), Temporary: true}}
			}
			h := health.Of(u)
			if h.Status == health.Healthy {
				return nil
			}
			if last = h.Message; h.Status == health.Degraded {
				return Errors{{Source: o.Source, Message: last}}
			}
		}
	}
}
