package daemonset

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// deliver shows a cache one more event of its kind.
func (w *world) deliver(kind string) {
	if len(w.late[kind]) == 0 {
		return
	}
	l := w.late[kind][0]
	w.late[kind] = w.late[kind][1:]
	c := w.cache[kind]
	c.Version = strconv.Itoa(l.version)
	var err error
	if l.obj != nil {
		err = c.Update(l.obj)
	} else if obj, ok, _ := c.GetByKey(l.key); ok {
		err = c.Delete(obj)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// relist shows a cache of one kind what is true now: what came and went since is never seen.
func (w *world) relist(kind string) {
	var list []any
	add := func(obj any) { list = append(list, obj) }
	switch kind {
	case daemonSets:
		add(w.set)
	case pods:
		for _, p := range w.pods {
			add(p)
		}
	case nodes:
		for _, n := range w.nodes {
			add(n)
		}
	case revs:
		for _, r := range w.revisions {
			add(r)
		}
	}
	if err := w.cache[kind].Replace(list, ""); err != nil {
		w.t.Fatal(err)
	}
	w.late[kind], w.cache[kind].Version = nil, strconv.Itoa(w.version)
}

// run lets scheduler and node bring one Pod a step further.
func (w *world) run(name string, well bool) {
	p := w.pods[name].DeepCopy()
	hurt := ""
	switch {
	case podstate.Finished(p):
		return
	case p.DeletionTimestamp != nil:
		p.Status.Phase = corev1.PodFailed
	case p.Spec.NodeName == "":
		if w.nodes[nodeOf(p)] == nil {
			return
		}
		p.Spec.NodeName, p.Status.Phase = nodeOf(p), corev1.PodRunning
	case well:
		if podstate.Ready(p) {
			return
		}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	default:
		hurt = nodeOf(p)
		p.Status.Conditions = nil
		if w.rand.IntN(2) == 0 {
			p.Status.Phase = corev1.PodFailed
		}
	}
	w.showPod(p, hurt)
}

// meddle changes something behind the controller's back.
func (w *world) meddle() {
	names := slices.Sorted(maps.Keys(w.pods))
	node := fmt.Sprintf("n%d", w.rand.IntN(5))
	switch n := w.rand.IntN(16); {
	case n < 11 && len(names) > 0:
		w.run(names[w.rand.IntN(len(names))], w.rand.IntN(8) > 0)
	case n == 11 && len(names) > 0: // somebody deletes a Pod
		if p := w.pods[names[w.rand.IntN(len(names))]].DeepCopy(); podstate.Active(p) {
			p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
			w.showPod(p, nodeOf(p))
		}
	case n == 12:
		w.label(node, w.rand.IntN(3) > 0)
	case n == 13 && w.nodes[node] != nil && w.rand.IntN(3) == 0: // a node goes, and the garbage collector takes its Pods
		delete(w.nodes, node)
		w.change(nodes, node, nil, "")
		for _, name := range names {
			if p := w.pods[name]; p.Spec.NodeName == node {
				delete(w.pods, name)
				w.change(pods, "default/"+name, nil, node)
			}
		}
	case n == 14: // an update, or a rollback
		set := w.set.DeepCopy()
		set.Spec.Template.Spec.Containers[0].Image = strconv.Itoa(w.rand.IntN(4))
		w.showSet(set, true)
	}
}

// check is for the end, when the caches have caught up.
func (w *world) check() {
	serving := map[string]int{}
	for _, p := range w.pods {
		if n := w.nodes[nodeOf(p)]; n == nil || !fitting(n) {
			w.t.Errorf("in the end there is %s on node %s, which does not fit", p.Name, nodeOf(p))
		}
		if hashOf(p) != revisionHash(w.newest()) || !podstate.Ready(p) {
			w.t.Errorf("in the end there is %s of revision %s, ready: %v, and the newest is %s", p.Name, hashOf(p), podstate.Ready(p), revisionHash(w.newest()))
		}
		serving[nodeOf(p)]++
	}
	for name, n := range w.nodes {
		if fitting(n) && serving[name] != 1 {
			w.t.Errorf("in the end there are %d Pods on node %s", serving[name], name)
		}
	}
	if s, n := w.set.Status, int32(len(serving)); s.DesiredNumberScheduled != n || s.UpdatedNumberScheduled != n || s.NumberAvailable != n ||
		s.NumberUnavailable != 0 || s.NumberMisscheduled != 0 || s.ObservedGeneration != w.set.Generation {
		w.t.Errorf("in the end with %d nodes the status of generation %d is %+v", n, w.set.Generation, s)
	}
	if len(w.revisions) > 3 {
		w.t.Errorf("in the end there are %d revisions, want the newest and two", len(w.revisions))
	}
}

func TestLateWatchesLostAnswersAndKillsNeitherDoubleNorLoseADaemon(t *testing.T) {
	key := reconcile.Key{Namespace: "default", Name: "log"}
	seeds := uint64(3000)
	if testing.Short() {
		seeds = 150
	}
	creates, kills := 0, 0
	for seed := range seeds {
		w := newWorld(t, seed)
		c := w.controller()
		reconcileOnce := func() {
			_, _ = c.reconcile(context.Background(), key) // errors are meant to be retried, which a later turn does
			if w.dead {
				// The next process reads everything anew, and remembers nothing.
				w.dead, w.callsUntilDeath = false, 0
				w.kills++
				for _, k := range kinds {
					w.relist(k)
				}
				c = w.controller()
			}
		}
		for range 250 {
			switch n := w.rand.IntN(40); {
			case n < 14:
				reconcileOnce()
			case n < 28:
				w.deliver(kinds[w.rand.IntN(len(kinds))])
			case n < 38:
				w.meddle()
			case n == 38:
				w.relist(kinds[w.rand.IntN(len(kinds))])
			case w.rand.IntN(3) == 0:
				w.callsUntilDeath = 1 + w.rand.IntN(6)
			}
		}
		// Left in peace, the nodes run what they are given, the caches catch up, and the update comes to its end.
		w.steady, w.callsUntilDeath = true, 0
		for range 80 {
			for _, n := range slices.Sorted(maps.Keys(w.pods)) {
				w.run(n, true)
			}
			for _, k := range kinds {
				for len(w.late[k]) > 0 {
					w.deliver(k)
				}
			}
			reconcileOnce()
		}
		w.check()
		creates, kills = creates+w.creates, kills+w.kills
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d DaemonSets, %d Pods, %d kills", seeds, creates, kills)
}
