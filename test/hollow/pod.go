package hollow

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/status"
)

// pod carries out what lifecycle.Decide asks for, with containers that are only written down. Its fields belong to its goroutine.
type pod struct {
	node  *Node
	inbox chan *v1.Pod // nil: the API has it no more
	ended chan struct{}

	input lifecycle.Input // its Pod is the desired one, with the status last reported; nil before the first
	made  int             // containers, for their IDs
}

// inboxSize is how many versions of a Pod may wait; more hold the watch up, as they would on a real node.
const inboxSize = 16

// retryAfter is how long a request that failed is left alone, as on a real node.
const retryAfter = time.Second

var errFinished = errors.New("nothing is left of the Pod")

func (n *Node) put(ctx context.Context, p *v1.Pod) {
	n.mu.Lock()
	w := n.pods[string(p.UID)]
	if w == nil {
		w = &pod{node: n, inbox: make(chan *v1.Pod, inboxSize), ended: make(chan struct{})}
		n.pods[string(p.UID)] = w
		go w.run(ctx)
	}
	n.mu.Unlock()
	select {
	case w.inbox <- p:
	case <-w.ended:
	}
}

func (n *Node) remove(p *v1.Pod) {
	n.mu.Lock()
	w := n.pods[string(p.UID)]
	n.mu.Unlock()
	if w == nil {
		return
	}
	select {
	case w.inbox <- nil:
	case <-w.ended:
	}
}

func (p *pod) run(ctx context.Context) {
	defer close(p.ended)
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-p.inbox:
			if now == nil {
				p.forget()
				return
			}
			p.take(ctx, now)
		case <-again.C:
		}
		next, err := p.settle(ctx)
		switch {
		case errors.Is(err, errFinished):
			p.awaitRemoval(ctx)
			return
		case err != nil && ctx.Err() == nil:
			again.Reset(retryAfter)
		case !next.IsZero():
			again.Reset(time.Until(next))
		}
	}
}

// settle decides and acts until nothing is left to do now, and says when to decide again.
func (p *pod) settle(ctx context.Context) (time.Time, error) {
	for {
		p.input.Now = time.Now()
		d := lifecycle.Decide(p.input)
		p.report(ctx, d.Status)
		if len(d.Actions) == 0 {
			return d.Again, nil
		}
		for _, a := range d.Actions {
			if err := p.act(ctx, a); err != nil {
				return time.Time{}, err
			}
			if a.Verb == lifecycle.Finish {
				return time.Time{}, errFinished
			}
		}
	}
}

// awaitRemoval passes over what the watch still tells of a Pod that is gone: taken up again, it would be deleted a second time.
func (p *pod) awaitRemoval(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-p.inbox:
			if now == nil {
				p.forget()
				return
			}
		}
	}
}

func (p *pod) forget() {
	uid := p.input.Pod.UID
	p.node.mu.Lock()
	delete(p.node.pods, string(uid))
	p.node.mu.Unlock()
	p.node.status.Forget(uid)
}

// take keeps the status that this node reported, and everything else as the API has it.
func (p *pod) take(ctx context.Context, now *v1.Pod) {
	if p.input.Pod == nil {
		p.node.status.Known(ref(now), now.Status.DeepCopy())
		p.input = lifecycle.Input{Pod: now, RuntimeUp: true, HostIPs: []string{p.node.ip}, Containers: map[string]*lifecycle.Container{}}
		return
	}
	p.node.status.Observed(ctx, ref(now), now.ResourceVersion, &now.Status)
	p.become(now, p.input.Pod.Status)
}

func (p *pod) report(ctx context.Context, st v1.PodStatus) {
	urgent := lifecycle.Urgent(&p.input.Pod.Status, &st)
	p.become(p.input.Pod, st)
	p.node.status.Set(ctx, ref(p.input.Pod), st.DeepCopy(), urgent)
}

// become makes a Pod with a status the desired one; the Pod itself may be the informer's and is not touched.
func (p *pod) become(desired *v1.Pod, st v1.PodStatus) {
	next := *desired
	next.Status = st
	p.input.Pod = &next
}

func ref(p *v1.Pod) status.Ref { return status.Ref{Namespace: p.Namespace, Name: p.Name, UID: p.UID} }

func (p *pod) event(container, reason, format string, a ...any) {
	r := &v1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: p.input.Pod.Namespace, Name: p.input.Pod.Name, UID: p.input.Pod.UID, ResourceVersion: p.input.Pod.ResourceVersion}
	if container != "" {
		r.FieldPath = "spec.containers{" + container + "}"
	}
	p.node.recorder.Eventf(r, v1.EventTypeNormal, reason, format, a...)
}

// act does at once what takes a real node tens of milliseconds. Each request to the API is made.
func (p *pod) act(ctx context.Context, a lifecycle.Action) error {
	c := p.input.Containers[a.Container]
	if c == nil && a.Container != "" {
		c = &lifecycle.Container{}
		p.input.Containers[a.Container] = c
	}
	switch a.Verb {
	case lifecycle.Setup:
		if err := p.fetch(ctx); err != nil {
			p.input.SetupFailure = &lifecycle.Failure{Reason: "FailedMount", Message: err.Error(), At: time.Now(), Count: 1}
			return nil
		}
		p.input.SetupFailure, p.input.Prepared, p.input.Networked = nil, true, true
		p.input.PodIPs = []string{p.node.address(p.input.Pod)}
	case lifecycle.Image:
		c.ImageReady = true
		p.event(a.Container, "Pulled", "Container image %q already present on machine", p.image(a.Container))
	case lifecycle.Create:
		p.made++
		*c = lifecycle.Container{
			Phase: lifecycle.Created, ID: fmt.Sprintf("hollow://%s-%d", p.input.Pod.UID, p.made), Attempt: a.Attempt, SpecHash: p.hash(a.Container), ImageID: p.image(a.Container),
			ImageReady: true, Last: c.End,
		}
		p.event(a.Container, "Created", "Created container: %s", a.Container)
	case lifecycle.Start:
		c.Phase, c.StartedAt, c.PostStart, c.StartupOK, c.Ready = lifecycle.Running, time.Now(), lifecycle.HookDone, true, true
		p.event(a.Container, "Started", "Started container %s", a.Container)
	case lifecycle.StopIt, lifecycle.Kill:
		if a.Verb == lifecycle.StopIt {
			p.event(a.Container, "Killing", "%s", a.Message)
		}
		c.Phase, c.Ready = lifecycle.Exited, false
		c.End = &lifecycle.End{ID: c.ID, Attempt: c.Attempt, ImageID: c.ImageID, Reason: "Completed", StartedAt: c.StartedAt, FinishedAt: time.Now()}
	case lifecycle.Teardown:
		p.input.TornDown = true
	case lifecycle.Finish:
		return p.finish(ctx)
	default:
		return fmt.Errorf("hollow Pod %s/%s: the action %s is not known", p.input.Pod.Namespace, p.input.Pod.Name, a)
	}
	return nil
}

func (p *pod) container(name string) *v1.Container {
	for _, list := range [][]v1.Container{p.input.Pod.Spec.InitContainers, p.input.Pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return &v1.Container{}
}

func (p *pod) image(name string) string { return p.container(name).Image }
func (p *pod) hash(name string) string  { return lifecycle.SpecHash(p.container(name)) }

// fetch reads what the Pod's volumes are made from, as mounting them does.
func (p *pod) fetch(ctx context.Context) error {
	objects := p.node.objects.For(ctx, p.input.Pod.Namespace)
	for _, v := range p.input.Pod.Spec.Volumes {
		switch {
		case v.ConfigMap != nil:
			if _, err := objects.ConfigMap(v.ConfigMap.Name); err != nil {
				return err
			}
		case v.Secret != nil:
			if _, err := objects.Secret(v.Secret.SecretName); err != nil {
				return err
			}
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ServiceAccountToken != nil {
					if _, err := objects.Token(ctx, p.input.Pod, s.ServiceAccountToken.Audience, *s.ServiceAccountToken.ExpirationSeconds); err != nil {
						return err
					}
				}
				if s.ConfigMap != nil {
					if _, err := objects.ConfigMap(s.ConfigMap.Name); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// finish removes the Pod from the API once that has its last status.
func (p *pod) finish(ctx context.Context) error {
	if err := p.node.status.Flush(ctx, p.input.Pod.UID); err != nil {
		return err
	}
	now := int64(0)
	err := p.node.client.CoreV1().Pods(p.input.Pod.Namespace).Delete(ctx, p.input.Pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(p.input.Pod.UID)),
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
