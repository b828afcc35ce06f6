package static

import (
	"maps"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Action is something to do at the API.
type Action struct {
	Create *v1.Pod // the mirror to create
	Delete *v1.Pod // the mirror to delete, at once: nothing runs that is called so
}

// Mirrors decides what to do at the API so that it shows the static Pods that this node runs, and no others. ending are the UIDs of static Pods that have not
// ended yet though they are not to run any more; they keep their mirrors.
func Mirrors(run []*v1.Pod, ending map[types.UID]bool, mirrors []*v1.Pod, node *v1.Node) []Action {
	var out []Action
	wanted := map[string]*v1.Pod{}
	for _, p := range run {
		wanted[string(p.UID)] = p
	}
	taken := map[string]bool{}
	for _, m := range mirrors {
		hash := m.Annotations[v1.MirrorPodAnnotationKey]
		p := wanted[hash]
		shown := p != nil && p.Namespace == m.Namespace && p.Name == m.Name
		taken[m.Namespace+"/"+m.Name] = true // also one that is deleted, until it is gone
		if m.DeletionTimestamp != nil || !shown && !ending[types.UID(hash)] {
			out = append(out, Action{Delete: m})
		}
	}
	if node == nil {
		return out
	}
	for _, p := range run {
		if !taken[p.Namespace+"/"+p.Name] {
			out = append(out, Action{Create: mirror(p, node)})
		}
	}
	return out
}

// mirror is what the API is to show of a static Pod. It belongs to its Node, with which it goes.
func mirror(p *v1.Pod, node *v1.Node) *v1.Pod {
	m := p.DeepCopy()
	m.UID, m.ResourceVersion, m.CreationTimestamp = "", "", metav1.Time{}
	m.Status = v1.PodStatus{}
	m.Annotations = maps.Clone(p.Annotations)
	m.Annotations[v1.MirrorPodAnnotationKey] = string(p.UID)
	controller := true
	m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: &controller}}
	return m
}
