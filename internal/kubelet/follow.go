package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/pv"
)

// podInformer is for the Pods bound to this node only.
func (d *daemon) podInformer() cache.SharedIndexInformer {
	own := fields.OneTermEqualSelector("spec.nodeName", d.cfg.Name).String()
	return d.informers.InformerFor(&v1.Pod{}, func(c kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return coreinformers.NewFilteredPodInformer(c, "", resync, cache.Indexers{}, func(o *metav1.ListOptions) { o.FieldSelector = own })
	})
}

// watchOwnNode starts the Pod network when the node has been given its addresses, and has the status looked at whenever somebody wrote it.
func (d *daemon) watchOwnNode(fail context.CancelCauseFunc) error {
	take := func(obj any) {
		if n, ok := obj.(*v1.Node); ok {
			if err := d.network.assigned(n); err != nil {
				fail(err)
			}
			d.proxy.SetZone(n.Labels[v1.LabelTopologyZone])
			d.drivers.NodeChanged(n)
			d.poke()
			d.static.look() // mirrors belong to the Node
		}
	}
	_, err := d.own.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			take(obj)
			d.disks.Registered()
		},
		DeleteFunc: func(any) { d.poke() }, // it is made anew, while its daemon runs
		UpdateFunc: func(old, obj any) {
			take(obj)
			if _, said := pv.RoomOf(obj.(*v1.Node)); !said {
				d.disks.Registered() // the control plane was restored to an earlier state
			}
			if was, is := old.(*v1.Node), obj.(*v1.Node); was.Spec.Unschedulable != is.Spec.Unschedulable {
				state := "NodeSchedulable"
				if is.Spec.Unschedulable {
					state = "NodeNotSchedulable"
				}
				d.event(state, fmt.Sprintf("Node %s status is now: %s", d.cfg.Name, state))
			}
		},
	})
	return err
}

// ofPods hands on Pods that there are, and those that there are no more. After a list, as when the node was cut off for long or the control plane was restored, a Pod of the
// name of one that is gone comes as a change of that.
func ofPods(put func(any), remove func(*v1.Pod)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: put,
		UpdateFunc: func(old, obj any) {
			if was, is := old.(*v1.Pod), obj.(*v1.Pod); was.UID != is.UID {
				remove(was)
			}
			put(obj)
		},
		DeleteFunc: func(obj any) {
			if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = t.Obj
			}
			if p, ok := obj.(*v1.Pod); ok {
				remove(p)
			}
		},
	}
}

// warn records a warning about the Node.
func (d *daemon) warn(reason, message string) { d.tell(v1.EventTypeWarning, reason, message) }

// event records an event about the Node. It carries the Node's name for its UID, as the kubelet's do: that is what `kubectl describe node` looks for.
func (d *daemon) event(reason, message string) { d.tell(v1.EventTypeNormal, reason, message) }

func (d *daemon) tell(kind, reason, message string) {
	d.node.Recorder.Event(&v1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: d.cfg.Name, UID: types.UID(d.cfg.Name)}, kind, reason, message)
}

// follow takes up the Pods there are, then follows containerd and the API.
func (d *daemon) follow(ctx context.Context, must func(func() error), pods cache.SharedIndexInformer) error {
	started := make(chan struct{})
	must(func() error { return d.followRuntime(ctx, started) })
	select {
	case <-started:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	d.followShutdowns(ctx, must)
	must(func() error {
		d.followPressure(ctx)
		return nil
	})
	d.images.OnArrival(d.pods.ImagesArrived)
	archives := image.NewArchives(d.images, filepath.Join(d.cfg.DataDir, "images"), filepath.Join(d.cfg.DataDir, "images.json"))
	must(func() error { return archives.Run(ctx) })
	d.static.api = pods
	must(func() error { return d.static.follow(ctx) })
	// Only when the API has said which Pods there are can others be told to be gone; and only when those have made room is there any for new ones.
	if !cache.WaitForCacheSync(ctx.Done(), pods.HasSynced) {
		return context.Cause(ctx)
	}
	first := pods.GetStore().List()
	there := map[types.UID]bool{}
	for _, obj := range first {
		there[obj.(*v1.Pod).UID] = true
	}
	d.pods.Keep(there)
	d.static.look()
	put := func(obj any) {
		if p := obj.(*v1.Pod); d.static.isMirror(p) {
			d.static.look()
		} else {
			d.pods.Put(p)
		}
	}
	handled, err := pods.AddEventHandler(ofPods(put, func(p *v1.Pod) {
		if d.static.isMirror(p) {
			d.static.look()
		} else {
			d.pods.Remove(p)
		}
	}))
	if err != nil {
		return err
	}
	if !cache.WaitForCacheSync(ctx.Done(), handled.HasSynced) {
		return context.Cause(ctx)
	}
	for _, obj := range first {
		p := obj.(*v1.Pod)
		if now, ok, _ := pods.GetStore().Get(p); !ok || now.(*v1.Pod).UID != p.UID {
			d.pods.Remove(p) // it went between the list and the handler
		}
	}
	var attached []string
	if n := d.network.get(); n != nil {
		attached = n.Attached()
	}
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		err := d.pods.RemoveStrays(ctx, attached)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		slog.Warn("cleaning up after Pods that are gone failed; it is tried again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// followRuntime keeps a subscription to containerd's events. Each time it stands anew, all containers are looked at, since events may have been missed.
func (d *daemon) followRuntime(ctx context.Context, started chan struct{}) error {
	first := true
	for ctx.Err() == nil {
		if err := d.runtime.WaitUp(ctx); err != nil {
			if ctx.Err() == nil && !first {
				d.down(err)
			}
			continue
		}
		up := make(chan struct{})
		ended := make(chan error, 1)
		go func() { ended <- d.runtime.Exits(ctx, func() { close(up) }, d.pods.Exit) }()
		select {
		case <-up:
		case err := <-ended:
			d.down(err)
			continue
		}
		found, err := d.runtime.List(ctx)
		if err != nil {
			d.down(err)
			<-ended
			continue
		}
		none := ""
		d.runtimeDown.Store(&none)
		d.poke()
		if first {
			if err := d.pods.Start(ctx, found); err != nil {
				return err
			}
			close(started)
			first = false
		} else {
			slog.Info("containerd answers again", "containers", len(found))
			d.pods.RuntimeUp(found)
		}
		if err := <-ended; ctx.Err() == nil {
			d.down(err)
			d.pods.RuntimeDown()
		}
	}
	return nil
}

func (d *daemon) down(err error) {
	text := fmt.Sprintf("containerd does not answer: %v", errors.Unwrap(err))
	d.runtimeDown.Store(&text)
	d.poke()
	slog.Warn("containerd does not answer; containers run on, and it is waited for", "err", err)
}
