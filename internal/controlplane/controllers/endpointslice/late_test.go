package endpointslice

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	corelisters "k8s.io/client-go/listers/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/endpointslice"
	"k8s.io/endpointslice/topologycache"
	endpointsliceutil "k8s.io/endpointslice/util"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/latetest"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

const (
	members  = 6
	perSlice = 2 // so that there are several slices
)

var errDead = errors.New("the process has ended")

// world is an API server whose watches are late: each kind's in the order of its changes, and in no order between kinds. The controller is woken by nothing but
// what those watches bring and by its own retries.
type world struct {
	t        *testing.T
	rand     *rand.Rand
	client   *latetest.Client
	version  int
	services *latetest.Kind[*corev1.Service]
	pods     *latetest.Kind[*corev1.Pod]
	nodes    *latetest.Kind[*corev1.Node]
	slices   *latetest.Kind[*discoveryv1.EndpointSlice]
	peace    bool // nobody but the controller does anything, and no answer is lost
	lives    int  // calls after which the controller dies; below 0 for never
	meddled  int  // the version that somebody else wrote last of slices
	writes   int
	kill     func() // ends the controller that runs
}

func newWorld(t *testing.T, client *latetest.Client, seed uint64) *world {
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), client: client, kill: func() {},
		services: latetest.NewKind[*corev1.Service](t), pods: latetest.NewKind[*corev1.Pod](t),
		nodes: latetest.NewKind[*corev1.Node](t), slices: latetest.NewKind[*discoveryv1.EndpointSlice](t),
	}
	if err := w.slices.Cache.AddIndexers(cache.Indexers{"service": index.SliceKeys}); err != nil {
		t.Fatal(err)
	}
	w.nodes.Put(w.next(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	w.services.Put(w.next(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web"},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.43.0.9", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080), Protocol: corev1.ProtocolTCP}},
		},
	})
	return w
}

func (w *world) next() int {
	w.version++
	return w.version
}

// start runs a controller whose caches are read anew.
func (w *world) start() {
	w.client.AnsweredBy(func(a clienttesting.Action) (runtime.Object, error) {
		if w.lives == 0 {
			return nil, errDead
		}
		w.lives--
		if w.peace {
			return w.carryOut(a)
		}
		return latetest.Sometimes(w.rand, w.carryOut)(a)
	})
	nodes := corelisters.NewNodeLister(w.nodes.Cache)
	c := &Controller{
		client: w.client, events: &record.FakeRecorder{}, nodes: nodes,
		services: corelisters.NewServiceLister(w.services.Cache), pods: corelisters.NewPodLister(w.pods.Cache), slices: w.slices.Cache,
		tracker: endpointsliceutil.NewEndpointSliceTracker(), topology: topologycache.NewTopologyCache(), triggers: endpointsliceutil.NewTriggerTimeTracker(),
	}
	c.reconciler = endpointslice.NewReconciler(w.client, nodes, perSlice, c.tracker, c.topology, c.events, controllerName)
	c.loop = reconcile.New("endpointslice", c.reconcile)
	w.services.Handler, w.pods.Handler, w.nodes.Handler, w.slices.Handler = c.loop.Handler(), c.podHandler(), c.nodeHandler(), c.sliceHandler()
	w.client.Alone(func() {
		w.lives = -1
		for _, k := range []interface {
			Empty()
			Relist(int)
		}{w.nodes, w.services, w.pods, w.slices} {
			k.Empty()
			k.Relist(w.version)
		}
	})
	ctx, cancel := context.WithCancel(w.t.Context())
	go c.loop.Run(ctx, workers)
	w.kill = func() {
		cancel()
		synctest.Wait()
	}
}

// carryOut is what the API server does. Watches may bring what a write has done, and others may undo it, before the controller has its answer.
func (w *world) carryOut(a clienttesting.Action) (runtime.Object, error) {
	served, wanted := w.served(), w.wanted()
	obj, err := w.write(a)
	if a.GetVerb() != "list" {
		w.writes++
		now := w.served()
		for name, at := range wanted {
			if served[at] > 0 && now[at] == 0 {
				w.t.Errorf("%s %s: Pod %s, which is ready and had an endpoint, has none any more", a.GetVerb(), a.GetResource().Resource, name)
			}
			if served[at] > 0 && now[at] > served[at] {
				w.t.Errorf("%s %s: Pod %s had an endpoint, and has %d now", a.GetVerb(), a.GetResource().Resource, name, now[at])
			}
		}
	}
	if !w.peace && w.rand.IntN(4) == 0 {
		if w.rand.IntN(2) == 0 {
			w.meddle()
		}
		for range w.rand.IntN(4) {
			w.slices.Deliver()
		}
	}
	return obj, err
}

func (w *world) write(a clienttesting.Action) (runtime.Object, error) {
	switch a := a.(type) {
	case clienttesting.CreateActionImpl:
		a.Object.(*discoveryv1.EndpointSlice).Generation = 1
		return w.slices.Serve(a, w.next)
	case clienttesting.UpdateActionImpl:
		s := a.Object.(*discoveryv1.EndpointSlice)
		if was := w.slices.Real[s.Name]; was != nil {
			s.DeletionTimestamp, s.Finalizers, s.Generation = was.DeletionTimestamp, was.Finalizers, generation(was, s)
		}
		return w.slices.Serve(a, w.next)
	case clienttesting.DeleteActionImpl:
		if w.slices.Real[a.Name] == nil {
			return w.slices.Serve(clienttesting.NewGetAction(a.Resource, a.Namespace, a.Name), w.next)
		}
		w.remove(a.Name)
		return nil, nil
	case clienttesting.ListActionImpl:
		list := &discoveryv1.EndpointSliceList{}
		for _, s := range w.slices.Real {
			if a.ListRestrictions.Labels.Matches(labels.Set(s.Labels)) {
				list.Items = append(list.Items, *s.DeepCopy())
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("unexpected call: %v", a)
}

// generation is that of a slice that is changed, as the API server counts it: labels are part of what a slice says.
func generation(was, is *discoveryv1.EndpointSlice) int64 {
	if apiequality.Semantic.DeepEqual(was.Endpoints, is.Endpoints) && apiequality.Semantic.DeepEqual(was.Ports, is.Ports) && maps.Equal(was.Labels, is.Labels) {
		return was.Generation
	}
	return was.Generation + 1
}

// remove deletes a slice, or marks it as one that is to go when it has a finalizer.
func (w *world) remove(name string) {
	s := w.slices.Real[name]
	switch {
	case len(s.Finalizers) == 0:
		w.slices.Remove(w.next(), name)
	case s.DeletionTimestamp == nil:
		s = s.DeepCopy()
		s.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		s.Generation++
		w.slices.Put(w.next(), s)
	}
}

// served counts the endpoints with an address and a port, but for those of slices that are about to go.
func (w *world) served() map[string]int {
	out := map[string]int{}
	for _, s := range w.slices.Real {
		if s.DeletionTimestamp != nil {
			continue
		}
		for _, e := range s.Endpoints {
			out[fmt.Sprint(e.Addresses[0], ":", *s.Ports[0].Port)]++
		}
	}
	return out
}

// wanted are the addresses and ports that the controller knows to be wanted, by Pod, if its cache is right about that Pod. There are none while it does not know
// what somebody else did to slices, nor while slices have other ports, which are then written anew one after the other.
func (w *world) wanted() map[string]string {
	if shown, err := strconv.Atoi(w.slices.Cache.Version); err != nil || shown < w.meddled {
		return nil
	}
	out := map[string]string{}
	svc, _ := w.services.Cache.ByIndex(cache.NamespaceIndex, "default")
	for _, s := range w.slices.Real {
		if len(s.Ports) > 0 && *s.Ports[0].Port != svc[0].(*corev1.Service).Spec.Ports[0].TargetPort.IntVal {
			return nil
		}
	}
	for name, p := range w.pods.Real {
		if cached, ok, _ := w.pods.Cache.Get(p); ok && cached == any(p) && podReady(p) {
			out[name] = fmt.Sprint(p.Status.PodIP, ":", svc[0].(*corev1.Service).Spec.Ports[0].TargetPort.IntVal)
		}
	}
	return out
}

// meddle is somebody else who writes to slices.
func (w *world) meddle() {
	names := slices.Sorted(maps.Keys(w.slices.Real))
	if len(names) == 0 {
		return
	}
	defer func() { w.meddled = w.version }()
	name := names[w.rand.IntN(len(names))]
	s := w.slices.Real[name].DeepCopy()
	switch w.rand.IntN(6) {
	case 0:
		s.Labels["note"] = "x"
	case 1:
		s.Endpoints = nil
	case 2:
		s.Finalizers = []string{"example.com/slow"}
	case 3:
		if s.Finalizers = nil; s.DeletionTimestamp != nil {
			w.slices.Remove(w.next(), name)
			return
		}
	default:
		w.remove(name)
		return
	}
	s.Generation = generation(w.slices.Real[name], s)
	w.slices.Put(w.next(), s)
}

// goOn is what else happens: Pods that come, become ready and unready, and go; ports and labels of the Service that change.
func (w *world) goOn() {
	if w.rand.IntN(12) == 0 {
		s := w.services.Real["web"].DeepCopy()
		if w.rand.IntN(2) == 0 {
			s.Spec.Ports[0].TargetPort.IntVal ^= 1
		} else {
			s.Labels = map[string]string{"version": strconv.Itoa(w.version)}
		}
		w.services.Put(w.next(), s)
		return
	}
	name := fmt.Sprint("web-", w.rand.IntN(members))
	p := w.pods.Real[name]
	if p == nil {
		version := w.next()
		ip := fmt.Sprintf("10.42.%d.%d", version/250, version%250+1)
		w.pods.Put(version, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(fmt.Sprint(name, version)), Labels: map[string]string{"app": "web"}},
			Spec:       corev1.PodSpec{NodeName: "n1"},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
		})
		return
	}
	if w.rand.IntN(4) == 0 {
		w.pods.Remove(w.next(), name)
		return
	}
	p = p.DeepCopy()
	status := corev1.ConditionTrue
	if podReady(p) {
		status = corev1.ConditionFalse
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
	w.pods.Put(w.next(), p)
}

func TestLateWatchesLostAnswersMeddlersAndDeathLoseNoEndpoint(t *testing.T) {
	seeds := uint64(1000)
	if testing.Short() {
		seeds = 100
	}
	client := latetest.NewClient()
	writes, deaths := 0, 0
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, client, seed)
			w.start()
			for range 250 {
				synctest.Wait()
				pause, dies := time.Duration(0), false
				client.Alone(func() {
					switch n := w.rand.IntN(26); {
					case n < 6:
						w.goOn()
					case n < 11:
						w.pods.Deliver()
					case n < 13:
						w.services.Deliver()
					case n < 18:
						w.slices.Deliver()
					case n < 20:
						w.meddle()
					case n < 24:
						pause = time.Duration(w.rand.IntN(20)) * time.Millisecond
					case w.rand.IntN(4) > 0:
					case n == 24:
						w.slices.Relist(w.version)
					default:
						w.lives = w.rand.IntN(3) // it dies in the midst of what it does next
						pause, dies = time.Second, true
					}
				})
				time.Sleep(pause)
				if dies {
					w.kill()
					w.start()
					deaths++
				}
			}
			w.rest()
			w.kill()
			writes += w.writes
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d writes, %d deaths", writes, deaths)
}

func TestASliceThatAnEarlierProcessWroteComesBackWhenSomebodyDeletesIt(t *testing.T) {
	client := latetest.NewClient()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, client, 0)
		for len(w.pods.Real) < members {
			w.goOn()
		}
		w.start()
		w.rest()
		w.kill()
		w.start()
		synctest.Wait()
		for name := range maps.Clone(w.slices.Real) {
			w.remove(name)
		}
		w.rest()
		w.kill()
	})
}

// rest leaves the controller in peace, with watches that show all there is, and then expects each Pod's endpoint exactly once.
func (w *world) rest() {
	synctest.Wait()
	w.client.Alone(func() {
		w.peace = true
		w.pods.Relist(w.version)
		w.services.Relist(w.version)
	})
	for range 120 {
		for range 20 {
			w.client.Alone(w.slices.Deliver)
			synctest.Wait()
		}
		time.Sleep(time.Second)
	}
	synctest.Wait()
	want := map[string]int{}
	for _, p := range w.pods.Real {
		want[p.Status.PodIP] = 1
	}
	got := map[string]int{}
	svc := w.services.Real["web"]
	for _, s := range w.slices.Real {
		if s.DeletionTimestamp != nil {
			continue // somebody's finalizer holds it
		}
		if s.Labels["version"] != svc.Labels["version"] || s.Labels["note"] != "" {
			w.t.Errorf("slice %s has the labels %v, and the Service %v", s.Name, s.Labels, svc.Labels)
		}
		for _, e := range s.Endpoints {
			got[e.Addresses[0]]++
			if *s.Ports[0].Port != svc.Spec.Ports[0].TargetPort.IntVal {
				w.t.Errorf("slice %s has port %d, and the Service %d", s.Name, *s.Ports[0].Port, svc.Spec.Ports[0].TargetPort.IntVal)
			}
			for _, p := range w.pods.Real {
				if p.Status.PodIP == e.Addresses[0] && podReady(p) != *e.Conditions.Ready {
					w.t.Errorf("endpoint %s is ready: %t, its Pod: %t", e.Addresses[0], *e.Conditions.Ready, podReady(p))
				}
			}
		}
	}
	if !maps.Equal(got, want) {
		w.t.Errorf("endpoints %v, want %v", got, want)
	}
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}
