package nodelifecycle

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Rates bound how fast Pods are taken off Nodes that are not ready: when many are lost at once, it is more often the network than the Nodes. They are the
// settings of the same names of kube-controller-manager.
type Rates struct {
	NodeEvictionRate          float64 // Nodes per second whose Pods have to go, in a zone where few or all Nodes are lost
	SecondaryNodeEvictionRate float64 // the same in a large zone that is partly lost; a smaller one is left alone
	LargeClusterThreshold     int     // a zone of more Nodes is large
	UnhealthyZoneThreshold    float64 // share of Nodes that are not ready from which a zone is partly lost
}

// DefaultRates are Kubernetes'.
var DefaultRates = Rates{NodeEvictionRate: 0.1, SecondaryNodeEvictionRate: 0.01, LargeClusterThreshold: 50, UnhealthyZoneThreshold: 0.55}

// fewLost is how many Nodes of a zone may be lost without it counting as partly lost, whatever their share.
const fewLost = 2

// State is how a zone is.
type State string

const (
	Normal            State = "Normal"
	PartialDisruption State = "PartialDisruption"
	FullDisruption    State = "FullDisruption"
)

func (r Rates) state(ready, lost int) State {
	switch {
	case ready == 0 && lost > 0:
		return FullDisruption
	case lost > fewLost && float64(lost) >= r.UnhealthyZoneThreshold*float64(ready+lost):
		return PartialDisruption
	}
	return Normal
}

// of is how many Nodes a second may lose their Pods in a zone. One that is lost as a whole, while others are not, is taken at its word.
func (r Rates) of(s State, size int) float64 {
	switch {
	case s != PartialDisruption:
		return r.NodeEvictionRate
	case size > r.LargeClusterThreshold:
		return r.SecondaryNodeEvictionRate
	}
	return 0
}

// zones knows which Nodes are ready and whose turn it is to be evicted. It reads no clock, and is not safe for concurrent use.
type zones struct {
	rates Rates
	grace time.Duration // for which nothing is evicted once the first Node of all is ready again
	nodes map[string]*member
	zones map[string]*zone
	ready int // of all that count

	total     bool      // no Node is ready: then the fault is more likely on this side
	recovered time.Time // when that ended
}

type member struct {
	zone         string
	ready, count bool
	turn         time.Time // when its Pods may be told to go; zero: not asked for
}

type zone struct {
	nodes          int
	counted, ready int // of those that count
	rate           float64
	last           time.Time // the latest turn that was given
}

func newZones(r Rates, grace time.Duration) *zones {
	return &zones{rates: r, grace: grace, nodes: map[string]*member{}, zones: map[string]*zone{}}
}

// excluded is the label of Nodes that do not count for how their zone is.
const excluded = "node.kubernetes.io/exclude-disruption"

// zoneOf is the Node's zone by its labels; Nodes without any share one.
func zoneOf(n *corev1.Node) string {
	return n.Labels[corev1.LabelTopologyRegion] + "/" + n.Labels[corev1.LabelTopologyZone]
}

// see notes what a Node says of itself, and tells whether that changes what may be done to others.
func (z *zones) see(n *corev1.Node, now time.Time) (changed bool) {
	_, left := n.Labels[excluded]
	next := member{zone: zoneOf(n), ready: statusOf(n, nil, corev1.NodeReady) == corev1.ConditionTrue, count: !left}
	if was := z.nodes[n.Name]; was != nil {
		if was.zone == next.zone && was.ready == next.ready && was.count == next.count {
			return false
		}
		if !next.ready && was.zone == next.zone {
			next.turn = was.turn
		}
		z.add(was, -1)
	}
	z.nodes[n.Name] = &next
	z.add(&next, 1)
	return z.judge(now)
}

// forget drops a Node that is gone.
func (z *zones) forget(name string, now time.Time) (changed bool) {
	was := z.nodes[name]
	if was == nil {
		return false
	}
	z.add(was, -1)
	delete(z.nodes, name)
	return z.judge(now)
}

func (z *zones) add(m *member, by int) {
	of := z.zones[m.zone]
	if of == nil {
		of = &zone{}
		z.zones[m.zone] = of
	}
	of.nodes += by
	if !m.count {
		return
	}
	of.counted += by
	if m.ready {
		of.ready += by
		z.ready += by
	}
}

// judge sets the rates by what the zones are now.
func (z *zones) judge(now time.Time) (changed bool) {
	if total := z.ready == 0; total != z.total {
		changed = true
		if z.total = total; !total {
			z.recovered = now
		}
		for _, m := range z.nodes {
			m.turn = time.Time{}
		}
	}
	for name, of := range z.zones {
		if of.nodes == 0 {
			delete(z.zones, name)
			continue
		}
		rate := z.rates.of(z.rates.state(of.ready, of.counted-of.ready), of.counted)
		if rate == of.rate {
			continue
		}
		of.rate, changed = rate, true
		for _, m := range z.nodes {
			if m.zone == name && m.turn.After(now) {
				m.turn = time.Time{} // it is given anew, at the new rate
			}
		}
		if of.last.After(now) {
			of.last = now
		}
	}
	return changed
}

// turn is when the Pods of a Node that is not ready may be told to go; not ok for never, as things are.
func (z *zones) turn(name string, now time.Time) (at time.Time, ok bool) {
	m := z.nodes[name]
	if m == nil || m.ready || z.total {
		return time.Time{}, false
	}
	if !m.turn.IsZero() {
		return m.turn, true
	}
	of := z.zones[m.zone]
	if of.rate <= 0 {
		return time.Time{}, false
	}
	m.turn = now
	if !of.last.IsZero() {
		m.turn = later(m.turn, of.last.Add(time.Duration(float64(time.Second)/of.rate)))
	}
	m.turn = later(m.turn, z.recovered.Add(z.grace))
	of.last = m.turn
	return m.turn, true
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
