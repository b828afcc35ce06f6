package plugins

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// NodeAffinity turns away from nodes that spec.nodeSelector or the required node affinity do not select.
type NodeAffinity struct{}

var _ Filter = NodeAffinity{}

// Name is the filter's name.
func (NodeAffinity) Name() string { return "NodeAffinity" }

// Prepare applies to Pods that select their nodes.
func (NodeAffinity) Prepare(pod *snapshot.Pod, _ *snapshot.Snapshot) Check {
	spec := &pod.Object.Spec
	if len(spec.NodeSelector) == 0 && (spec.Affinity == nil || spec.Affinity.NodeAffinity == nil ||
		spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil) {
		return nil
	}
	return affinityCheck{nodeaffinity.GetRequiredNodeAffinity(pod.Object), spec}
}

// Concerns are what may be selected.
func (NodeAffinity) Concerns() Change { return Added | Labels }

// Only returns the nodes that the Pod names, where every term of its required affinity names some by metadata.name, as those of a DaemonSet do.
func (NodeAffinity) Only(pod *snapshot.Pod) ([]string, bool) {
	a := pod.Object.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil, false
	}
	var names []string
	for i := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		t := &a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[i]
		at := slices.IndexFunc(t.MatchFields, func(r corev1.NodeSelectorRequirement) bool {
			return r.Key == metav1.ObjectNameField && r.Operator == corev1.NodeSelectorOpIn
		})
		if at < 0 {
			return nil, false
		}
		for _, name := range t.MatchFields[at].Values {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, true
}

// Helped by a node that the Pod selects.
func (f NodeAffinity) Helped(pod *snapshot.Pod, e Event) bool {
	if e.Change&(Added|Labels) == 0 {
		return false
	}
	c := f.Prepare(pod, nil)
	return c == nil || c.Passes(e.Node)
}

type affinityCheck struct {
	required nodeaffinity.RequiredNodeAffinity
	spec     *corev1.PodSpec
}

func (c affinityCheck) Passes(n *snapshot.Node) bool {
	ok, err := c.required.Match(n.Object)
	return ok && err == nil // an expression that cannot be read selects nothing; the API server refuses it
}

func (affinityCheck) Explain(*snapshot.Node) []string {
	return []string{"node(s) didn't match Pod's node affinity/selector"}
}

// innate are labels that say what a node is: another value would be untrue, and volumes and other Pods that choose by it would be led astray.
var innate = []string{corev1.LabelHostname, corev1.LabelOSStable, corev1.LabelArchStable}

func (c affinityCheck) Remedies(n *snapshot.Node) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(c.spec.NodeSelector)) {
		if want := c.spec.NodeSelector[key]; n.Labels[key] != want {
			lacks := fmt.Sprintf("spec.nodeSelector asks for %s=%s, %s", key, want, labelled(n, key))
			if !slices.Contains(innate, key) {
				lacks += fmt.Sprintf(": kubectl label node %s %s=%s", n.Name(), key, want)
			}
			out = append(out, lacks)
		}
	}
	if a := c.spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		out = append(out, closest(a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms, n)...)
	}
	return out
}

func (affinityCheck) Lasting(*snapshot.Node) bool { return true }

// closest says what the node lacks of the term that it lacks the least of; nothing if it has everything of one.
func closest(terms []corev1.NodeSelectorTerm, n *snapshot.Node) []string {
	var least []string
	for i := range terms {
		if len(terms[i].MatchExpressions)+len(terms[i].MatchFields) == 0 {
			continue // an empty term selects nothing
		}
		var lacks []string
		for _, r := range terms[i].MatchExpressions {
			if !satisfied(n, corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{r}}) {
				lacks = append(lacks, fmt.Sprintf("required node affinity asks for %s, %s", requirement(r), labelled(n, r.Key)))
			}
		}
		for _, r := range terms[i].MatchFields {
			if !satisfied(n, corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{r}}) {
				lacks = append(lacks, fmt.Sprintf("required node affinity asks for a node with %s", requirement(r)))
			}
		}
		if len(lacks) == 0 {
			return nil
		}
		if least == nil || len(lacks) < len(least) {
			least = lacks
		}
	}
	if least == nil {
		return []string{"required node affinity selects no node: every term of it is empty"}
	}
	return least
}

func satisfied(n *snapshot.Node, t corev1.NodeSelectorTerm) bool {
	s, err := nodeaffinity.NewNodeSelector(&corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{t}})
	return err == nil && s.Match(n.Object)
}

func requirement(r corev1.NodeSelectorRequirement) string {
	switch r.Operator {
	case corev1.NodeSelectorOpExists:
		return "a label " + r.Key
	case corev1.NodeSelectorOpDoesNotExist:
		return "no label " + r.Key
	case corev1.NodeSelectorOpIn:
		if len(r.Values) == 1 {
			return r.Key + "=" + r.Values[0]
		}
	}
	return fmt.Sprintf("%s %s (%s)", r.Key, r.Operator, strings.Join(r.Values, ", "))
}

// labelled says what the node has of a label.
func labelled(n *snapshot.Node, key string) string {
	if v, ok := n.Labels[key]; ok {
		return fmt.Sprintf("the node has %s=%s", key, v)
	}
	return fmt.Sprintf("the node has no label %s", key)
}

// AffinityPreference prefers nodes by the weights of the preferred node affinity.
type AffinityPreference struct{}

var _ Score = AffinityPreference{}

// Name is the score's name.
func (AffinityPreference) Name() string { return "NodeAffinity" }

// Prepare applies to Pods that state preferences.
func (AffinityPreference) Prepare(pod *snapshot.Pod, _ *snapshot.Snapshot, nodes []*snapshot.Node) Rating {
	a := pod.Object.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return nil
	}
	terms, err := nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil {
		return nil
	}
	weight := func(n *snapshot.Node) int64 { return terms.Score(n.Object) }
	return most(nodes, weight)
}

// most rates nodes by their share of the highest value; nil if all are 0.
func most(nodes []*snapshot.Node, value func(*snapshot.Node) int64) Rating {
	var highest int64
	for _, n := range nodes {
		highest = max(highest, value(n))
	}
	if highest == 0 {
		return nil
	}
	return func(n *snapshot.Node) int64 { return MaxRating * value(n) / highest }
}
