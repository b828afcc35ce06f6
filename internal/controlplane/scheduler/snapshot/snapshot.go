package snapshot

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Snapshot holds all nodes. It is not safe for concurrent use.
type Snapshot struct {
	nodes  []*Node // those with an Object, in no particular order
	byName map[string]*Node
	placed map[types.UID]*placement
	images map[string]int // on how many nodes each image is
	zones  map[string]*zone

	namespaces map[string]map[string]string // labels of each
	groups     map[string]map[string]*Group // by namespace, and then by what makes a group
	labelled   map[string]map[pair]map[*Group]bool
	repelling  interests       // required anti-affinity of the placed Pods
	attracting interests       // their other affinity
	apart      map[*Group]bool // the groups of interests
	topologies []*Topology
	topologyOf map[string]*Topology

	nominations map[types.UID]*nomination
	evicted     map[types.UID]bool // Pods that make room, see Evict
	priorities  map[int32]int      // how many placed Pods have each
	budgets     map[string]map[string]*Budget
	storage     storage
	devices     devices
	gangs       gangs

	version, newest uint64 // see Version
}

// zone is the sums over the nodes of one zone.
type zone struct {
	nodes     int
	workloads map[Workload]int32
}

type placement struct {
	pod     *Pod
	node    string
	assumed bool // decided here, not yet seen from the API server
}

// New makes an empty Snapshot.
func New() *Snapshot {
	return &Snapshot{
		byName: map[string]*Node{}, placed: map[types.UID]*placement{},
		images: map[string]int{}, zones: map[string]*zone{},
		namespaces: map[string]map[string]string{}, groups: map[string]map[string]*Group{},
		labelled: map[string]map[pair]map[*Group]bool{}, repelling: interests{}, attracting: interests{}, apart: map[*Group]bool{}, topologyOf: map[string]*Topology{},
		nominations: map[types.UID]*nomination{}, evicted: map[types.UID]bool{}, priorities: map[int32]int{}, budgets: map[string]map[string]*Budget{},
		storage: newStorage(), devices: newDevices(), gangs: newGangs(),
	}
}

// Version is another one whenever nodes, placed Pods, promises or namespaces are others than before: what depends on nothing else is still so if it is the
// same. It does not speak of volumes, devices, budgets and evictions. A Trial that has ended leaves the version that it began with.
func (s *Snapshot) Version() uint64 { return s.version }

// changed gives the Snapshot a version that it never had.
func (s *Snapshot) changed() {
	s.newest++
	s.version = s.newest
}

// Nodes are all nodes that exist. The slice is the Snapshot's own.
func (s *Snapshot) Nodes() []*Node { return s.nodes }

// Node returns a node by name, or nil.
func (s *Snapshot) Node(name string) *Node {
	if n := s.byName[name]; n != nil && n.Object != nil {
		return n
	}
	return nil
}

// ImageNodes is on how many nodes an image is.
func (s *Snapshot) ImageNodes(name string) int { return s.images[name] }

// Zones is the number of zones that nodes are in.
func (s *Snapshot) Zones() int { return len(s.zones) }

// InZone is how many Pods of a workload a zone has.
func (s *Snapshot) InZone(name string, w Workload) int32 {
	if z := s.zones[name]; z != nil {
		return z.workloads[w]
	}
	return 0
}

// SetNamespace takes in the labels of a namespace.
func (s *Snapshot) SetNamespace(name string, labels map[string]string) {
	s.changed()
	s.namespaces[name] = labels
}

// RemoveNamespace takes a namespace out. Pods in it stay until they go themselves.
func (s *Snapshot) RemoveNamespace(name string) {
	s.changed()
	delete(s.namespaces, name)
}

// SetNode takes in a node that is new or has changed.
func (s *Snapshot) SetNode(obj *corev1.Node) *Node {
	s.changed()
	n := s.byName[obj.Name]
	if n == nil {
		n = newNode()
		s.byName[obj.Name] = n
	}
	s.count(n, -1)
	n.setObject(obj)
	s.count(n, 1)
	s.move(n)
	if n.at < 0 {
		n.at = len(s.nodes)
		s.nodes = append(s.nodes, n)
		s.welcome(n)
	}
	return n
}

// RemoveNode takes a node out. Pods on it stay known, for the node may come back before they go.
func (s *Snapshot) RemoveNode(name string) {
	n := s.byName[name]
	if n == nil || n.Object == nil {
		return
	}
	s.changed()
	s.count(n, -1)
	last := len(s.nodes) - 1
	s.nodes[n.at] = s.nodes[last]
	s.nodes[n.at].at = n.at
	s.nodes[last] = nil
	s.nodes = s.nodes[:last]
	n.at, n.Object, n.nominated = -1, nil, nil
	s.move(n)
	if len(n.Pods) == 0 {
		delete(s.byName, name)
	}
}

// count adds what a node contributes to the sums over nodes, times 1 or -1.
func (s *Snapshot) count(n *Node, times int) {
	if n.Object == nil {
		return
	}
	for name := range n.Images {
		if s.images[name] += times; s.images[name] == 0 {
			delete(s.images, name)
		}
	}
	if n.Zone == "" {
		return
	}
	z := s.zones[n.Zone]
	if z == nil {
		z = &zone{workloads: map[Workload]int32{}}
		s.zones[n.Zone] = z
	}
	z.nodes += times
	for w, pods := range n.Workloads {
		z.add(w, int32(times)*pods)
	}
	if z.nodes == 0 {
		delete(s.zones, n.Zone)
	}
}

func (z *zone) add(w Workload, pods int32) {
	if z.workloads[w] += pods; z.workloads[w] == 0 {
		delete(z.workloads, w)
	}
}

// countPod adds a Pod to the sums over its zone, times 1 or -1.
func (s *Snapshot) countPod(n *Node, p *Pod, times int32) {
	if z := s.zones[n.Zone]; z != nil && n.Object != nil && p.Workload != "" {
		z.add(p.Workload, times)
	}
}

// Assume puts a Pod on the node that was chosen for it, before the API server knows.
func (s *Snapshot) Assume(p *Pod, node string) { s.place(p, node, true) }

// Place puts a Pod on the node that the API server says it is on, whatever was assumed.
func (s *Snapshot) Place(p *Pod, node string) { s.place(p, node, false) }

func (s *Snapshot) place(p *Pod, node string, assumed bool) {
	s.Lift(p.Object.UID)
	s.Withdraw(p.Object.UID)
	s.put(&placement{pod: p, node: node, assumed: assumed})
}

func (s *Snapshot) put(at *placement) {
	s.changed()
	n := s.byName[at.node]
	if n == nil {
		n = newNode()
		s.byName[at.node] = n
	}
	n.add(at.pod)
	s.enter(at.pod, n)
	s.countPod(n, at.pod, 1)
	s.use(at.pod, 1)
	s.countGang(at.pod, 1)
	s.priorities[at.pod.Priority]++
	s.placed[at.pod.Object.UID] = at
}

// Remove takes a Pod that is gone off its node and returns both; the node is nil if the Pod was on none, or the node does not exist.
func (s *Snapshot) Remove(uid types.UID) (*Pod, *Node) {
	delete(s.evicted, uid)
	return s.Lift(uid)
}

// Ending are the placed Pods that end by themselves: those that are not started again whatever their containers' end.
func (s *Snapshot) Ending() (out []*Pod) {
	for _, at := range s.placed {
		if r := at.pod.Object.Spec.RestartPolicy; r == corev1.RestartPolicyNever || r == corev1.RestartPolicyOnFailure {
			out = append(out, at.pod)
		}
	}
	return out
}

// Lift is Remove for a Pod that will be placed anew.
func (s *Snapshot) Lift(uid types.UID) (*Pod, *Node) {
	was := s.placed[uid]
	if was == nil {
		return nil, nil
	}
	return was.pod, s.take(was)
}

// take undoes put. It returns the node if it exists.
func (s *Snapshot) take(was *placement) *Node {
	s.changed()
	delete(s.placed, was.pod.Object.UID)
	s.use(was.pod, -1)
	s.countGang(was.pod, -1)
	if s.priorities[was.pod.Priority]--; s.priorities[was.pod.Priority] == 0 {
		delete(s.priorities, was.pod.Priority)
	}
	n := s.byName[was.node]
	n.remove(was.pod)
	s.leave(was.pod, n)
	s.countPod(n, was.pod, -1)
	if n.Object == nil {
		if len(n.Pods) == 0 {
			delete(s.byName, was.node)
		}
		return nil
	}
	return n
}

// Placed says where a Pod is, and whether that is only assumed.
func (s *Snapshot) Placed(uid types.UID) (node string, assumed, ok bool) {
	if was := s.placed[uid]; was != nil {
		return was.node, was.assumed, true
	}
	return "", false, false
}

// Confirm takes in what the API server says about a Pod that is known to be on that node, and needs the same as before. It is false otherwise.
func (s *Snapshot) Confirm(pod *corev1.Pod, node string) bool {
	was := s.placed[pod.UID]
	if was == nil || was.node != node || !sameNeeds(was.pod.Object, pod) {
		return false
	}
	was.assumed = false
	was.pod.Object = pod
	return true
}

// sameNeeds compares what of a bound Pod can change and matters here: its labels, whether it is being deleted, and its requests, which can only change with
// its generation or while a resize is reported.
func sameNeeds(a, b *corev1.Pod) bool {
	return a.Generation == b.Generation && (a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) && maps.Equal(a.Labels, b.Labels) &&
		!resizing(a) && !resizing(b)
}

func resizing(p *corev1.Pod) bool {
	for i := range p.Status.Conditions {
		if t := p.Status.Conditions[i].Type; t == corev1.PodResizePending || t == corev1.PodResizeInProgress {
			return true
		}
	}
	return false
}
