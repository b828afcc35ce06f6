package daemonset

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerrevision"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/latetest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// world is an API server, its nodes, and four watches that are late: each keeps the order of its own kind's events, and between them there is no order.
// It checks every write against what is true, not against what the controller could see.
type world struct {
	t    *testing.T
	rand *rand.Rand

	version   int
	set       *appsv1.DaemonSet                     // true, as all below
	nodes     map[string]*corev1.Node               // by name
	pods      map[string]*corev1.Pod                // by name
	revisions map[string]*appsv1.ControllerRevision // by name

	late  map[string][]late // by resource
	cache map[string]*latetest.Indexer

	steady          bool // no more failing calls
	callsUntilDeath int  // of the controller's process; 0: it lives on
	dead            bool
	creates, kills  int
}

// late is a change that a watch has not shown yet.
type late struct {
	version int
	key     string
	obj     runtime.Object // nil: gone
	hurt    string         // the node that lost an available Pod by it, without the controller's doing
}

const (
	pods, nodes, daemonSets, revs = "pods", "nodes", "daemonsets", "controllerrevisions"
	setKey                        = "default/log"
)

var kinds = []string{pods, nodes, daemonSets, revs}

func newWorld(t *testing.T, seed uint64) *world {
	inf := cache.NewSharedIndexInformer(&cache.ListWatch{}, &corev1.Pod{}, 0, cache.Indexers{})
	index.AddController(inf)
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 2)), version: 1, late: map[string][]late{}, cache: map[string]*latetest.Indexer{},
		nodes: map[string]*corev1.Node{}, pods: map[string]*corev1.Pod{}, revisions: map[string]*appsv1.ControllerRevision{},
	}
	for _, k := range kinds {
		indexers := maps.Clone(inf.GetIndexer().GetIndexers())
		indexers[cache.NamespaceIndex] = cache.MetaNamespaceIndexFunc
		w.cache[k] = &latetest.Indexer{Indexer: cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers)}
	}
	labels := map[string]string{"app": "log"}
	set := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "log", UID: "uid-log"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels}, RevisionHistoryLimit: ptr.To[int32](2),
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
				NodeSelector: map[string]string{"daemon": "yes"}, Containers: []corev1.Container{{Name: "c", Image: "1"}},
			}},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{
				MaxUnavailable: &intstr.IntOrString{IntVal: int32(1 + w.rand.IntN(2))}, MaxSurge: &intstr.IntOrString{},
			}},
		},
	}
	if w.rand.IntN(3) == 0 {
		set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{
			MaxUnavailable: &intstr.IntOrString{}, MaxSurge: &intstr.IntOrString{IntVal: int32(1 + w.rand.IntN(2))},
		}
	}
	w.showSet(set, true)
	for i := range 2 + w.rand.IntN(3) {
		w.label(fmt.Sprintf("n%d", i), true)
	}
	for _, k := range []string{daemonSets, nodes} {
		for len(w.late[k]) > 0 {
			w.deliver(k)
		}
	}
	return w
}

var theClient = latetest.NewClient()

func (w *world) controller() *Controller {
	theClient.AnsweredBy(w.answer)
	c := &Controller{
		client: theClient, events: &record.FakeRecorder{}, sets: appslisters.NewDaemonSetLister(w.cache[daemonSets]), nodes: corelisters.NewNodeLister(w.cache[nodes]),
		pods: w.cache[pods], history: controllerrevision.NewWithCache(theClient, w.cache[revs], fieldManager),
	}
	hours := 0 // no back-off is left
	c.clock = func() time.Time { hours++; return time.Now().Add(time.Duration(hours) * time.Hour) }
	c.loop = reconcile.New("daemonset", c.reconcile)
	return c
}

// answer is the API server.
func (w *world) answer(a clienttesting.Action) (runtime.Object, error) {
	if w.callsUntilDeath > 0 {
		if w.callsUntilDeath--; w.callsUntilDeath == 0 {
			w.dead = true
		}
	}
	if w.dead {
		return nil, fmt.Errorf("the process was killed before it could call")
	}
	if w.steady {
		return w.carryOut(a)
	}
	return latetest.Sometimes(w.rand, w.carryOut)(a)
}

func (w *world) carryOut(a clienttesting.Action) (runtime.Object, error) {
	switch resource := a.GetResource().Resource; resource {
	case pods:
		return w.carryOutPod(a)
	case revs:
		return w.carryOutRevision(a)
	case daemonSets:
		u, ok := a.(clienttesting.UpdateActionImpl)
		if !ok {
			return w.set.DeepCopy(), nil
		}
		next := u.Object.(*appsv1.DaemonSet)
		if next.ResourceVersion != w.set.ResourceVersion {
			return nil, apierrors.NewConflict(appsv1.Resource(resource), next.Name, fmt.Errorf("it has changed"))
		}
		set := w.set.DeepCopy()
		set.Status = next.Status
		w.showSet(set, false)
		return w.set.DeepCopy(), nil
	}
	return nil, fmt.Errorf("unexpected call: %v", a)
}

func (w *world) carryOutPod(a clienttesting.Action) (runtime.Object, error) {
	gr := corev1.Resource(pods)
	switch a := a.(type) {
	case clienttesting.CreateActionImpl:
		p := a.Object.(*corev1.Pod).DeepCopy()
		if w.pods[p.Name] != nil {
			return nil, apierrors.NewAlreadyExists(gr, p.Name)
		}
		w.checkCreate(p)
		w.creates++
		p.UID, p.Status.Phase, p.CreationTimestamp = types.UID("uid-"+p.Name), corev1.PodPending, metav1.NewTime(time.Unix(int64(w.version), 0))
		w.showPod(p, "")
		return p.DeepCopy(), nil
	case clienttesting.DeleteActionImpl:
		p := w.pods[a.Name]
		if p == nil {
			return nil, apierrors.NewNotFound(gr, a.Name)
		}
		if p.DeletionTimestamp == nil {
			w.checkDelete(p)
			p = p.DeepCopy()
			p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
			w.showPod(p, "")
		}
		return p, nil
	case clienttesting.GetActionImpl:
		if p := w.pods[a.Name]; p != nil {
			return p.DeepCopy(), nil
		}
		return nil, apierrors.NewNotFound(gr, a.Name)
	}
	return nil, fmt.Errorf("unexpected call: %v", a)
}

func (w *world) carryOutRevision(a clienttesting.Action) (runtime.Object, error) {
	gr := appsv1.Resource(revs)
	switch a := a.(type) {
	case clienttesting.CreateActionImpl:
		r := a.Object.(*appsv1.ControllerRevision).DeepCopy()
		if w.revisions[r.Name] != nil {
			return nil, apierrors.NewAlreadyExists(gr, r.Name)
		}
		for _, other := range w.revisions {
			if other.Revision == r.Revision {
				w.t.Errorf("revisions %s and %s both have number %d", other.Name, r.Name, r.Revision)
			}
		}
		r.UID = types.UID("uid-" + r.Name)
		w.showRevision(r)
		return r.DeepCopy(), nil
	case clienttesting.UpdateActionImpl:
		r := a.Object.(*appsv1.ControllerRevision).DeepCopy()
		if was := w.revisions[r.Name]; was == nil || was.ResourceVersion != r.ResourceVersion {
			return nil, apierrors.NewConflict(gr, r.Name, fmt.Errorf("it has changed"))
		}
		w.showRevision(r)
		return r.DeepCopy(), nil
	case clienttesting.GetActionImpl:
		if r := w.revisions[a.Name]; r != nil {
			return r.DeepCopy(), nil
		}
		return nil, apierrors.NewNotFound(gr, a.Name)
	case clienttesting.DeleteActionImpl:
		r := w.revisions[a.Name]
		if r == nil {
			return nil, apierrors.NewNotFound(gr, a.Name)
		}
		if v := a.DeleteOptions.Preconditions.ResourceVersion; v != nil && *v != r.ResourceVersion {
			return nil, apierrors.NewConflict(gr, r.Name, fmt.Errorf("it has changed"))
		}
		delete(w.revisions, r.Name)
		w.change(revs, "default/"+r.Name, nil, "")
		return r, nil
	}
	return nil, fmt.Errorf("unexpected call: %v", a)
}

// checkCreate holds every new Pod against what is true of the others of its node.
func (w *world) checkCreate(p *corev1.Pod) {
	node, limit := nodeOf(p), 0
	if w.surges() {
		limit = 1
	}
	there := 0
	for _, q := range w.pods {
		if nodeOf(q) != node || podstate.Finished(q) || w.surges() && q.DeletionTimestamp != nil {
			continue
		}
		if there++; there > limit || hashOf(q) == hashOf(p) {
			w.t.Errorf("created %s (%s) for %s beside %s (%s), being deleted: %v", p.Name, hashOf(p), node, q.Name, hashOf(q), q.DeletionTimestamp != nil)
		}
	}
	if n, ok := w.shown(nodes, node).(*corev1.Node); !ok || !fitting(n) {
		w.t.Errorf("created %s for node %s, which does not fit", p.Name, node)
	}
}

// checkDelete asks for a reason: the Pod has ended, its node does not want it, another does its work, or it is to be updated and enough others serve.
func (w *world) checkDelete(p *corev1.Pod) {
	node := nodeOf(p)
	shown, _ := w.shown(pods, "default/"+p.Name).(*corev1.Pod)
	n, exists := w.shown(nodes, node).(*corev1.Node)
	if shown == nil || podstate.Finished(shown) || !exists || !fitting(n) {
		return
	}
	for _, q := range w.pods {
		if q.Name != p.Name && nodeOf(q) == node && podstate.Active(q) {
			return
		}
	}
	if w.surges() {
		// One that was there when the controller looked may have failed since: nobody can know.
		for _, obj := range w.cache[pods].List() {
			if q := obj.(*corev1.Pod); q.Name != p.Name && nodeOf(q) == node && podstate.Active(q) {
				return
			}
		}
		w.t.Errorf("deleted %s, the only Pod of node %s", p.Name, node)
		return
	}
	if hashOf(p) == revisionHash(w.newest()) {
		w.t.Errorf("deleted %s of the newest revision %s", p.Name, hashOf(p))
	}
	if !podstate.Ready(shown) || !podstate.Ready(p) {
		return
	}
	hurt := map[string]bool{}
	for _, k := range []string{pods, nodes} {
		for _, l := range w.late[k] {
			hurt[l.hurt] = true
		}
	}
	limit := w.set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable.IntValue()
	for name, n := range w.nodes {
		seen, ok := w.shown(nodes, name).(*corev1.Node)
		if fitting(n) && ok && fitting(seen) && !hurt[name] && (name == node || !w.served(name)) {
			limit--
		}
	}
	if limit < 0 {
		w.t.Errorf("deleted %s to be updated, and %d nodes too many are without a Pod", p.Name, -limit)
	}
}

func (w *world) newest() *appsv1.ControllerRevision {
	return slices.MaxFunc(slices.Collect(maps.Values(w.revisions)), func(a, b *appsv1.ControllerRevision) int { return int(a.Revision - b.Revision) })
}

func (w *world) surges() bool { return w.set.Spec.UpdateStrategy.RollingUpdate.MaxSurge.IntValue() > 0 }

func (w *world) served(node string) bool {
	for _, p := range w.pods {
		if nodeOf(p) == node && podstate.Ready(p) && podstate.Active(p) {
			return true
		}
	}
	return false
}

func fitting(n *corev1.Node) bool { return n.Labels["daemon"] == "yes" }

func (w *world) shown(kind, key string) any {
	obj, _, _ := w.cache[kind].GetByKey(key)
	return obj
}

// change lets a watch know.
func (w *world) change(kind, key string, obj runtime.Object, hurt string) {
	w.version++
	if obj != nil {
		obj.(metav1.Object).SetResourceVersion(strconv.Itoa(w.version))
	}
	w.late[kind] = append(w.late[kind], late{version: w.version, key: key, obj: obj, hurt: hurt})
}

func (w *world) showSet(set *appsv1.DaemonSet, spec bool) {
	if spec {
		set.Generation++
	}
	w.set = set
	w.change(daemonSets, setKey, set, "")
}

func (w *world) showRevision(r *appsv1.ControllerRevision) {
	w.revisions[r.Name] = r
	w.change(revs, "default/"+r.Name, r, "")
}

// showPod makes a Pod's change true. One that is being deleted goes when its containers have ended, or never were.
func (w *world) showPod(p *corev1.Pod, hurt string) {
	if p.DeletionTimestamp != nil && (podstate.Finished(p) || p.Spec.NodeName == "") {
		delete(w.pods, p.Name)
		w.change(pods, "default/"+p.Name, nil, hurt)
		return
	}
	w.pods[p.Name] = p
	w.change(pods, "default/"+p.Name, p, hurt)
}

// label makes a node, or lets it fit or not.
func (w *world) label(name string, fits bool) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"daemon": map[bool]string{true: "yes", false: "no"}[fits]}}}
	w.nodes[name] = n
	w.change(nodes, name, n, "")
}
