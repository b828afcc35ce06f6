package netpolicy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/dns/records"
	"github.com/gitopsd/gitopsd/internal/iptables"
	"github.com/gitopsd/gitopsd/internal/netpolicy/rules"
	"github.com/gitopsd/gitopsd/internal/network"
)

// Config says whose Pods are guarded and where what matters to them is seen.
type Config struct {
	// ClusterCIDRs are the ranges of all nodes' Pods. There are rules for each family that has one.
	ClusterCIDRs []netip.Prefix
	// Informers give NetworkPolicies, and Namespaces and Services where those matter. Their owner starts them, after New.
	Informers informers.SharedInformerFactory
	// Pods is the informer of the node's own Pods.
	Pods cache.SharedIndexInformer
	// Client lists and watches the Pods of other nodes.
	Client kubernetes.Interface
	// Places are the addresses that own Pods have been given, by UID.
	Places func() map[string]network.Place
	// Dir is a folder of this package's own, made if it is missing.
	Dir string
	// OwnDNS says that this node answers DNS questions itself, at the address of the cluster's DNS.
	OwnDNS bool
}

// Times of Run.
const (
	// leftoverPeriod is the wait before a set that was in use is deleted.
	leftoverPeriod = time.Second
	// Waits after a failed write.
	minRetry = 100 * time.Millisecond
	maxRetry = 10 * time.Second
)

// Enforcer carries out NetworkPolicies on this node.
type Enforcer struct {
	cfg      Config
	log      *slog.Logger
	kernels  []*kernel
	policies cache.SharedIndexInformer
	services cache.SharedIndexInformer // nil: the node answers no DNS questions
	// wake has room for one: any number of changes before the next write are one write.
	wake chan struct{}

	mu       sync.Mutex
	members  *rules.Members
	admitted map[string]*corev1.Pod // by UID; the informer may know of a Pod later than the node runs it
	asked    uint64                 // counts the calls of Admit
	done     uint64                 // the calls of which the kernel has the rules
	told     chan struct{}          // closed at the next success

	// Only Run uses these.
	ctx        context.Context
	before     *kept  // what an earlier process knew, while that has to do
	written    string // of what is known, as it was kept last
	writtenAt  time.Time
	unresolved bool                 // the kernel may hold something else than the last write says: all of it is to be looked at
	own        map[string]rules.Pod // what was known last of each Pod that has addresses, by UID
	namespaces *follower            // nil until a policy asks for labels of Namespaces
	peers      map[string]*follower // by namespace; "" is all of them
}

// New finds iptables and the kernel's sets, and prepares the informers. No rule is written before Run. It works in the network namespace of the calling process.
func New(cfg Config) (*Enforcer, error) {
	e := &Enforcer{
		cfg: cfg, log: slog.With("component", "netpolicy"),
		policies: cfg.Informers.Networking().V1().NetworkPolicies().Informer(),
		wake:     make(chan struct{}, 1),
		members:  rules.NewMembers(), admitted: map[string]*corev1.Pod{}, told: make(chan struct{}),
		own: map[string]rules.Pod{}, peers: map[string]*follower{},
	}
	if cfg.OwnDNS {
		e.services = cfg.Informers.Core().V1().Services().Informer()
	}
	for _, f := range families {
		if !slices.ContainsFunc(cfg.ClusterCIDRs, func(c netip.Prefix) bool { return f.has(c.Addr()) }) {
			continue
		}
		k, err := openKernel(f)
		if err != nil {
			return nil, err
		}
		e.kernels = append(e.kernels, k)
	}
	return e, nil
}

// Admit returns when the kernel has the rules of a Pod that has been given its addresses. It waits for as long as the policies are not known, or until ctx ends.
func (e *Enforcer) Admit(ctx context.Context, pod *corev1.Pod) error {
	e.mu.Lock()
	e.admitted[string(pod.UID)] = pod
	e.asked++
	mine := e.asked
	e.mu.Unlock()
	e.poke()
	for {
		e.mu.Lock()
		done, told := e.done, e.told
		e.mu.Unlock()
		if done >= mine {
			return nil
		}
		select {
		case <-told:
		case <-ctx.Done():
			return fmt.Errorf("waiting until the NetworkPolicies of Pod %s/%s are in force: %w", pod.Namespace, pod.Name, context.Cause(ctx))
		}
	}
}

func (e *Enforcer) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Run keeps the rules up to date until ctx ends. It leaves them in place then.
func (e *Enforcer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.ctx = ctx
	synced, err := e.listen()
	if err != nil {
		return err
	}
	// What a first write does not hold it takes away; so nothing is written before everything is known, now or from before.
	known := make(chan struct{})
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), synced...) {
			close(known)
		}
	}()
	e.loadOwn()
	if before := e.load(); before != nil {
		e.takeUp(before)
	} else {
		select {
		case <-known:
		case <-ctx.Done():
			return nil
		}
	}
	heal := time.NewTicker(iptables.HealPeriod)
	defer heal.Stop()
	backoff := minRetry
	whenKnown := known
	if e.before == nil {
		whenKnown = nil
	}
	for {
		var later <-chan time.Time
		again, err := e.sync(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			e.log.Error("NetworkPolicies could not be enforced, retrying", "after", backoff, "err", err)
			later = time.After(backoff)
			backoff = min(2*backoff, maxRetry)
		default:
			backoff = minRetry
			if again > 0 {
				later = time.After(again)
			}
		}
		for waiting := true; waiting; {
			waiting = false
			select {
			case <-ctx.Done():
				return nil
			case <-whenKnown:
				whenKnown = nil
				e.startAnew()
			case <-e.wake:
			case <-later:
			case <-heal.C:
				waiting = !e.heal(ctx)
			}
		}
	}
}

// listen has Run woken by whatever concerns own Pods' rules.
func (e *Enforcer) listen() ([]cache.InformerSynced, error) {
	each := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { e.poke() }, UpdateFunc: func(any, any) { e.poke() }, DeleteFunc: func(any) { e.poke() },
	}
	var synced []cache.InformerSynced
	add := func(informer cache.SharedIndexInformer, h cache.ResourceEventHandler) error {
		r, err := informer.AddEventHandler(h)
		if err != nil {
			return fmt.Errorf("watching for NetworkPolicies: %w", err)
		}
		synced = append(synced, r.HasSynced)
		return nil
	}
	own := each
	own.UpdateFunc = func(old, now any) {
		if a, b := old.(*corev1.Pod), now.(*corev1.Pod); !maps.Equal(a.Labels, b.Labels) || isOver(a) != isOver(b) {
			e.poke()
		}
	}
	if err := errors.Join(add(e.policies, each), add(e.cfg.Pods, own)); err != nil {
		return nil, err
	}
	if e.services == nil {
		return synced, nil
	}
	return synced, add(e.services, cache.FilteringResourceEventHandler{Handler: each, FilterFunc: func(obj any) bool {
		s, ok := obj.(*corev1.Service)
		return ok && s.Namespace == records.ServiceNamespace && s.Name == records.ServiceName
	}})
}

// sync brings the rules for what is known now to the kernel. It writes nothing while a peer may be missing. It says when to be called again, if at all.
func (e *Enforcer) sync(ctx context.Context) (again time.Duration, err error) {
	e.mu.Lock()
	asked := e.asked
	e.mu.Unlock()
	own, all := e.ownPods()
	dns := e.dns()
	policies := e.knownPolicies()
	guards := rules.Build(own, policies)

	if !maps.EqualFunc(e.own, all, same) {
		if err := e.keepOwn(all); err != nil {
			return 0, err
		}
	}
	e.mu.Lock()
	for uid := range e.own {
		if _, there := all[uid]; !there {
			e.members.Put("own/"+uid, nil)
		}
	}
	for uid, pod := range all {
		if old, known := e.own[uid]; !known || !same(old, pod) {
			e.members.Put("own/"+uid, &pod)
		}
	}
	e.own = all
	if e.services != nil {
		e.putDNS(dns)
	}
	e.members.Want(guards.Peers)
	scope := e.members.Scope()
	e.mu.Unlock()
	if e.before == nil && !e.follow(scope) {
		return 0, nil // whoever is missing wakes Run when it is there
	}

	e.mu.Lock()
	changed := e.members.Changes()
	e.mu.Unlock()
	of := func(peers string) map[rules.Member]bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.members.Of(peers)
	}
	for _, k := range e.kernels {
		if e.unresolved {
			k.have = nil
		}
		more, err := k.apply(ctx, guards, dns, changed, of)
		if err != nil {
			e.unresolved = true
			return 0, err
		}
		if more {
			again = leftoverPeriod
		}
	}
	e.unresolved = false
	e.mu.Lock()
	e.done = asked
	close(e.told)
	e.told = make(chan struct{})
	e.mu.Unlock()
	if e.before == nil {
		wait, err := e.keep(policies, len(guards.List) > 0)
		if err != nil {
			e.log.Warn("a node that starts while the API is away would not know its policies", "err", err)
		}
		again = max(again, wait)
	}
	return again, nil
}

// knownPolicies are those of the API, sorted, or those of before while that has not answered.
func (e *Enforcer) knownPolicies() []*networkingv1.NetworkPolicy {
	if e.before != nil {
		return e.before.Policies
	}
	var out []*networkingv1.NetworkPolicy
	for _, obj := range e.policies.GetStore().List() {
		p := obj.(*networkingv1.NetworkPolicy)
		out = append(out, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}, Spec: p.Spec})
	}
	slices.SortFunc(out, func(a, b *networkingv1.NetworkPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// ownPods are the Pods that have addresses of this node: those to be guarded, sorted, and all by UID.
func (e *Enforcer) ownPods() ([]rules.Pod, map[string]rules.Pod) {
	places := e.cfg.Places()
	e.mu.Lock()
	maps.DeleteFunc(e.admitted, func(uid string, _ *corev1.Pod) bool { _, there := places[uid]; return !there })
	admitted := maps.Clone(e.admitted)
	e.mu.Unlock()
	all := map[string]rules.Pod{}
	for uid, place := range places {
		obj, exists, _ := e.cfg.Pods.GetStore().GetByKey(place.Namespace + "/" + place.Name)
		pod, _ := obj.(*corev1.Pod)
		// A Pod without an object of its UID is a static one, whose mirror has another, or one that is nearly gone, maybe while its successor is here.
		last, known := e.own[uid]
		switch a := admitted[uid]; {
		case exists && string(pod.UID) == uid:
			all[uid] = podOf(pod, place.IPs)
		case a != nil:
			all[uid] = podOf(a, place.IPs)
		case known:
			all[uid] = last
		case exists:
			all[uid] = podOf(pod, place.IPs)
		}
	}
	own := make([]rules.Pod, 0, len(all))
	for _, uid := range slices.Sorted(maps.Keys(all)) {
		own = append(own, all[uid])
	}
	return own, all
}

func same(a, b rules.Pod) bool {
	return a.Namespace == b.Namespace && a.Name == b.Name && maps.Equal(a.Labels, b.Labels) && slices.Equal(a.IPs, b.IPs) && slices.Equal(a.Ports, b.Ports)
}

// dns are the addresses at which this node answers DNS questions.
func (e *Enforcer) dns() []netip.Addr {
	switch {
	case e.services == nil:
		return nil
	case e.before != nil:
		return e.before.Peers[dnsKey].IPs
	}
	obj, exists, _ := e.services.GetStore().GetByKey(records.ServiceNamespace + "/" + records.ServiceName)
	if !exists {
		return nil
	}
	var out []netip.Addr
	for _, s := range obj.(*corev1.Service).Spec.ClusterIPs {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// dnsKey is that of the cluster's DNS among the Members.
const dnsKey = "dns"

// putDNS makes the cluster's DNS a peer: it has the labels that its Pods have elsewhere, by which policies name it that let DNS through.
func (e *Enforcer) putDNS(addresses []netip.Addr) {
	e.members.Put(dnsKey, &rules.Pod{
		Namespace: records.ServiceNamespace, Name: records.ServiceName, Labels: labels.Set{"k8s-app": "kube-dns"}, IPs: addresses,
		Ports: []rules.NamedPort{{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53}, {Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53}},
	})
}

// heal puts back rules that somebody else changed. It says whether the next sync has more to do about it.
func (e *Enforcer) heal(ctx context.Context) bool {
	for _, k := range e.kernels {
		repaired, err := k.heal(ctx)
		if err != nil {
			e.log.Error("rules of NetworkPolicies could not be verified", "err", err)
			e.unresolved = true
		} else if len(repaired) > 0 {
			e.log.Warn("rules of NetworkPolicies were changed from outside and are put back", "what", repaired)
			e.unresolved = true
		}
	}
	return e.unresolved
}
