package apply

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// HandOver finds the Services that take over a cluster IP or a node port from a Service that the same commit drops, as one does that is
// renamed. The server gives such a number to one Service at a time, so the old one must go first: right before the new one is applied,
// and not with the other removals at the end.
func HandOver(changes []Change, removals []Removal) {
	holders := map[string]Removal{}
	for _, r := range removals {
		if r.Release || r.Live == nil || r.Ref.Group != "" || r.Ref.Kind != "Service" {
			continue
		}
		for _, c := range claims(r.Live) {
			holders[c.String()] = r
		}
	}
	if len(holders) == 0 {
		return
	}
	for i := range changes {
		ch := &changes[i]
		if ref := ch.Object.Ref; ref.Group != "" || ref.Kind != "Service" {
			continue
		}
		first := map[*unstructured.Unstructured]bool{}
		for _, c := range claims(ch.desired()) {
			r, held := holders[c.String()]
			if !held {
				continue
			}
			ch.inherited = append(ch.inherited, c)
			if !first[r.Live] {
				first[r.Live] = true
				ch.successorOf = append(ch.successorOf, r)
			}
		}
	}
}

// claim is a number that only one Service of the cluster can have.
type claim struct {
	kind, value string
	// port is the index in spec.ports; -1 for a field of spec itself.
	port  int
	field string
}

func (c claim) String() string { return c.kind + " " + c.value }

func claims(service *unstructured.Unstructured) []claim {
	var out []claim
	spec, _, _ := unstructured.NestedMap(service.Object, "spec")
	if ip, _ := spec["clusterIP"].(string); ip != "" && ip != "None" {
		out = append(out, claim{kind: "address", value: ip, port: -1, field: "clusterIP"})
	}
	list, _ := spec["clusterIPs"].([]any)
	for _, e := range list {
		if ip, _ := e.(string); ip != "" && ip != "None" {
			out = append(out, claim{kind: "address", value: ip, port: -1, field: "clusterIPs"})
		}
	}
	if n, ok := number(spec["healthCheckNodePort"]); ok {
		// One port of the nodes, whatever it is for: the server counts it among TCP's.
		out = append(out, claim{kind: "port", value: fmt.Sprintf("TCP/%d", n), port: -1, field: "healthCheckNodePort"})
	}
	ports, _ := spec["ports"].([]any)
	for i, e := range ports {
		p, _ := e.(map[string]any)
		n, ok := number(p["nodePort"])
		if !ok {
			continue
		}
		protocol, _ := p["protocol"].(string)
		if protocol == "" {
			protocol = "TCP"
		}
		out = append(out, claim{kind: "port", value: fmt.Sprintf("%s/%d", protocol, n), port: i, field: "nodePort"})
	}
	return out
}

// number reads an integer as decoders of YAML and JSON leave it.
func number(v any) (int64, bool) {
	switch n := v.(type) {
	case int64:
		return n, n != 0
	case float64:
		return int64(n), n != 0
	}
	return 0, false
}

// trial is what Preflight tries: the desired object without what another Service still holds. The server picks free numbers instead and
// judges everything else as it will be.
func (c Change) trial() *unstructured.Unstructured {
	if len(c.inherited) == 0 {
		return c.desired()
	}
	u := c.desired().DeepCopy()
	spec, _ := u.Object["spec"].(map[string]any)
	ports, _ := spec["ports"].([]any)
	for _, i := range c.inherited {
		if i.port < 0 {
			delete(spec, i.field)
			continue
		}
		if p, ok := ports[i.port].(map[string]any); ok {
			delete(p, i.field)
		}
	}
	return u
}
