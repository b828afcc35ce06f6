package snapshot

// Topology is the domains of one node label: its values, numbered. It is made when somebody first asks for the label, and kept up to date from then on,
// so that a question about domains costs what it touches and not a walk over all nodes.
type Topology struct {
	Key string

	at       int // position in Snapshot.topologies and in Node.domains
	ids      map[string]Domain
	names    []string
	nodes    []int32 // how many nodes each domain has; 0 for a number that is free
	free     []Domain
	labelled int
}

// Domain is the number of a label's value. Numbers of domains that are gone are given out again.
type Domain int32

// NoDomain is where a node is that lacks the label.
const NoDomain Domain = -1

// Size is one more than the largest number of a domain.
func (t *Topology) Size() int { return len(t.nodes) }

// Exists says whether a node is in the domain.
func (t *Topology) Exists(d Domain) bool { return t.nodes[d] > 0 }

// Domains is how many domains have a node.
func (t *Topology) Domains() int { return len(t.ids) }

// Labelled is how many nodes have the label.
func (t *Topology) Labelled() int { return t.labelled }

// Value is the label's value in a domain.
func (t *Topology) Value(d Domain) string { return t.names[d] }

func (t *Topology) join(n *Node) Domain {
	value, ok := n.Labels[t.Key]
	if !ok || n.Object == nil {
		return NoDomain
	}
	d, known := t.ids[value]
	switch {
	case known:
	case len(t.free) > 0:
		d = t.free[len(t.free)-1]
		t.free = t.free[:len(t.free)-1]
		t.names[d] = value
		t.ids[value] = d
	default:
		d = Domain(len(t.nodes))
		t.nodes, t.names = append(t.nodes, 0), append(t.names, value)
		t.ids[value] = d
	}
	t.nodes[d]++
	t.labelled++
	return d
}

func (t *Topology) leave(d Domain) {
	if d == NoDomain {
		return
	}
	t.labelled--
	if t.nodes[d]--; t.nodes[d] == 0 {
		delete(t.ids, t.names[d])
		t.names[d] = ""
		t.free = append(t.free, d)
	}
}

// maxTopologies bounds how many labels are followed. Whoever may create Pods may name any label in them.
const maxTopologies = 64

// Tidy gives up following labels when there are too many of them. What Topology and Counts returned before is void then, so it is called between two decisions.
func (s *Snapshot) Tidy() {
	if len(s.topologies) <= maxTopologies {
		return
	}
	s.topologies, s.topologyOf = nil, map[string]*Topology{}
	for _, n := range s.byName {
		n.domains = nil
	}
	for _, groups := range s.groups {
		for _, g := range groups {
			g.counts = nil
		}
	}
	for g := range s.apart {
		g.counts = nil
	}
}

// Topology returns the domains of a label.
func (s *Snapshot) Topology(key string) *Topology {
	if t := s.topologyOf[key]; t != nil {
		return t
	}
	t := &Topology{Key: key, at: len(s.topologies), ids: map[string]Domain{}}
	s.topologies = append(s.topologies, t)
	s.topologyOf[key] = t
	for _, n := range s.nodes {
		n.domains = append(n.domains, t.join(n))
	}
	return t
}

// Counts is how many Pods of a group are in each domain that has any. The map is the Snapshot's own.
func (s *Snapshot) Counts(g *Group, t *Topology) map[Domain]int32 {
	if c, ok := g.counts[t]; ok {
		return c
	}
	c := map[Domain]int32{}
	for n, pods := range g.nodes {
		if d := n.Domain(t); d != NoDomain {
			c[d] += pods
		}
	}
	if g.counts == nil {
		g.counts = map[*Topology]map[Domain]int32{}
	}
	g.counts[t] = c
	return c
}

// move puts a node, whose labels may have changed, into its domains, and the Pods on it with it.
func (s *Snapshot) move(n *Node) {
	old := n.domains
	if n.Object == nil {
		n.domains = nil
	} else if len(old) != len(s.topologies) {
		n.domains = make([]Domain, len(s.topologies))
	}
	for i, t := range s.topologies {
		from, to := NoDomain, NoDomain
		if i < len(old) {
			from = old[i]
		}
		// The old domain is left last: its number must not be given out again while it is still the node's.
		if to = t.join(n); n.domains != nil {
			n.domains[i] = to
		}
		t.leave(from)
		if from == to {
			continue
		}
		for _, p := range n.Pods {
			p.group.move(t, from, to)
			p.Affinity.terms(
				func(term *Term, _ bool) { s.repelling[term.alike].Of.move(t, from, to) },
				func(term *Term, _ bool) { s.attracting[term.alike].Of.move(t, from, to) })
		}
	}
}

// move takes a Pod of the group from one domain to another.
func (g *Group) move(t *Topology, from, to Domain) {
	if c, ok := g.counts[t]; ok {
		add(c, from, -1)
		add(c, to, 1)
	}
}

func add(c map[Domain]int32, d Domain, pods int32) {
	if d == NoDomain {
		return
	}
	if c[d] += pods; c[d] == 0 {
		delete(c, d)
	}
}
