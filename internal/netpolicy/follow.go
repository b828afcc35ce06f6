package netpolicy

import (
	"context"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/netpolicy/rules"
)

// follower keeps the Members in step with one kind of objects.
type follower struct {
	synced func() bool
	stop   context.CancelFunc
	// keys are what it has put into the Members; the Enforcer's mutex guards it.
	keys map[string]bool
}

// follow has exactly those objects followed that the Members depend on, and says whether all of them are known. Which namespaces' Pods
// matter may depend on Namespaces, so those come first.
func (e *Enforcer) follow(scope rules.Scope) bool {
	if scope.Labels && e.namespaces == nil {
		e.namespaces = e.followNamespaces()
	}
	if scope.Labels && !e.namespaces.synced() {
		return false
	}
	want := map[string]bool{}
	if scope.All {
		want[metav1.NamespaceAll] = true
	}
	for _, ns := range scope.Namespaces {
		want[ns] = true
	}
	known := true
	for ns := range want {
		if e.peers[ns] == nil {
			e.peers[ns] = e.followPods(ns)
		}
		known = known && e.peers[ns].synced()
	}
	// Who was followed goes only when those that come in its place are known: Pods of a namespace may be among all Pods, too.
	if known {
		for ns, f := range e.peers {
			if !want[ns] {
				delete(e.peers, ns)
				e.forget(f)
			}
		}
	}
	return known
}

// forget ends a follower and drops the Pods that it has put.
func (e *Enforcer) forget(f *follower) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f.stop()
	for key := range f.keys {
		e.members.Put(key, nil)
	}
}

// followPods follows the Pods of a namespace. A node is shown of others' Pods only what policies ask of them.
func (e *Enforcer) followPods(ns string) *follower {
	return e.run(coreinformers.NewPodInformer(e.cfg.Client, ns, 0, cache.Indexers{}), func(f *follower, obj any, gone bool) {
		pod := obj.(*corev1.Pod)
		key := "in " + ns + "/" + string(pod.UID) // two followers may know of one Pod
		if gone || isOver(pod) || pod.Spec.HostNetwork || len(pod.Status.PodIPs) == 0 {
			delete(f.keys, key)
			e.members.Put(key, nil)
			return
		}
		f.keys[key] = true
		p := podOf(pod, addresses(pod))
		e.members.Put(key, &p)
	})
}

func (e *Enforcer) followNamespaces() *follower {
	return e.run(coreinformers.NewNamespaceInformer(e.cfg.Client, 0, cache.Indexers{}), func(_ *follower, obj any, gone bool) {
		ns := obj.(*corev1.Namespace)
		if gone {
			e.members.PutNamespace(ns.Name, nil)
			return
		}
		set := labels.Set{} // one without labels is there all the same
		maps.Copy(set, ns.Labels)
		e.members.PutNamespace(ns.Name, set)
	})
}

// run follows objects of one kind until it is stopped. Each event is put, under the mutex, and wakes Run.
func (e *Enforcer) run(informer cache.SharedIndexInformer, put func(f *follower, obj any, gone bool)) *follower {
	ctx, stop := context.WithCancel(e.ctx)
	f := &follower{stop: stop, keys: map[string]bool{}, synced: func() bool { return false }}
	tell := func(obj any, gone bool) {
		if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = t.Obj
		}
		e.mu.Lock()
		if ctx.Err() == nil {
			put(f, obj, gone)
		}
		e.mu.Unlock()
		e.poke()
	}
	err := informer.SetTransform(bare)
	if err != nil {
		e.log.Error("following what NetworkPolicies name", "err", err)
		return f
	}
	handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { tell(obj, false) },
		UpdateFunc: func(_, obj any) { tell(obj, false) },
		DeleteFunc: func(obj any) { tell(obj, true) },
	})
	if err != nil {
		e.log.Error("following what NetworkPolicies name", "err", err)
		return f
	}
	f.synced = handler.HasSynced
	go informer.RunWithContext(ctx)
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
			e.poke() // also when there is nothing
		}
	}()
	return f
}

// bare drops what nobody here asks.
func bare(obj any) (any, error) {
	if m, ok := obj.(metav1.Object); ok {
		m.SetManagedFields(nil)
		m.SetAnnotations(nil)
	}
	return obj, nil
}

func addresses(pod *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range pod.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// isOver tells of a Pod that its address may be another's by now.
func isOver(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// podOf is what policies ask of a Pod.
func podOf(pod *corev1.Pod, ips []netip.Addr) rules.Pod {
	out := rules.Pod{Namespace: pod.Namespace, Name: pod.Name, Labels: pod.Labels, IPs: ips}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, p := range list[i].Ports {
				if p.Name != "" && p.ContainerPort > 0 && p.ContainerPort <= 65535 {
					out.Ports = append(out.Ports, rules.NamedPort{Name: p.Name, Protocol: p.Protocol, Port: uint16(p.ContainerPort)})
				}
			}
		}
	}
	return out
}
