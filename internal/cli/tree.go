package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/health"
)

// TreeNode is an object of an Application, or something that stands below one: a ReplicaSet, a Job, a Pod, a container.
type TreeNode struct {
	// Object is such as "Pod shop/web-1" or "container web".
	Object string `json:"object"`
	Health string `json:"health"`
	// Message says why it is not healthy, or what it is doing.
	Message string `json:"message,omitempty"`
	// Drift counts the fields that differ from Git.
	Drift    int        `json:"drift,omitempty"`
	Children []TreeNode `json:"children,omitempty"`
}

// forest finds the objects that others own. An owner is known by its name, as the inventory has no more.
type forest map[diff.Key][]*unstructured.Unstructured

func newForest(objects []*unstructured.Unstructured) forest {
	f := forest{}
	for _, u := range objects {
		for _, o := range u.GetOwnerReferences() {
			group := schema.FromAPIVersionAndKind(o.APIVersion, o.Kind).Group
			k := diff.Key{Group: group, Kind: o.Kind, Namespace: u.GetNamespace(), Name: o.Name}
			f[k] = append(f[k], u)
		}
	}
	return f
}

// AddTrees fills in the tree of each Application: the objects of its inventory and what these own, of the objects given.
func (r *Report) AddTrees(apps []v1alpha1.Application, owned []*unstructured.Unstructured) {
	f := newForest(owned)
	pods := map[diff.Key]*unstructured.Unstructured{}
	for _, u := range owned {
		if u.GetKind() == "Pod" {
			pods[diff.Key{Kind: "Pod", Namespace: u.GetNamespace(), Name: u.GetName()}] = u
		}
	}
	for i := range r.Applications {
		a := &r.Applications[i]
		j := slices.IndexFunc(apps, func(app v1alpha1.Application) bool { return app.Namespace == a.Namespace && app.Name == a.Name })
		if j < 0 {
			continue
		}
		s := &apps[j].Status
		a.Tree = []TreeNode{}
		for _, ref := range s.Inventory {
			k := diff.KeyOf(ref)
			n := TreeNode{Object: k.String(), Health: string(health.Healthy)}
			if s.Health == string(health.Unknown) {
				n.Health = string(health.Unknown) // nothing was measured yet
			}
			for _, u := range s.Unhealthy {
				if diff.KeyOf(u.ObjectRef) == k {
					n.Health, n.Message = u.Health, u.Message
				}
			}
			for _, d := range s.Drift {
				if diff.KeyOf(d.ObjectRef) == k {
					n.Drift++
				}
			}
			if p := pods[k]; p != nil {
				n.Children = containers(p)
			} else {
				n.Children = f.below(k)
			}
			a.Tree = append(a.Tree, n)
		}
	}
}

// below are the trees of what an object owns. ReplicaSets of earlier versions, which have no Pods any more, are left out.
func (f forest) below(k diff.Key) []TreeNode {
	var out []TreeNode
	for _, u := range f[k] {
		gvk := u.GroupVersionKind()
		own := diff.Key{Group: gvk.Group, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}
		h := health.Of(u)
		n := TreeNode{Object: own.String(), Health: string(h.Status), Message: h.Message}
		if gvk.Kind == "Pod" {
			n.Children = containers(u)
			if node, _, _ := unstructured.NestedString(u.Object, "spec", "nodeName"); node != "" {
				n.Message = strings.TrimPrefix(n.Message+"; on "+node, "; ")
			}
		} else {
			n.Children = f.below(own)
			if replicas, found, _ := unstructured.NestedInt64(u.Object, "spec", "replicas"); gvk.Kind == "ReplicaSet" && found && replicas == 0 && len(n.Children) == 0 {
				continue
			}
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b TreeNode) int { return cmp.Compare(a.Object, b.Object) })
	return out
}

// containers are those of a Pod, the ones that ran first, first.
func containers(u *unstructured.Unstructured) []TreeNode {
	var p corev1.Pod
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &p); err != nil {
		return nil // the server does not send such a Pod
	}
	var out []TreeNode
	for _, c := range p.Spec.InitContainers {
		word := "init container "
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			word = "sidecar "
		}
		out = append(out, container(word+c.Name, c.Name, p.Status.InitContainerStatuses))
	}
	for _, c := range p.Spec.Containers {
		out = append(out, container("container "+c.Name, c.Name, p.Status.ContainerStatuses))
	}
	return out
}

// failing are the reasons for which a container that waits will not start by itself soon.
var failing = []string{"CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "ErrImageNeverPull"}

func container(object, name string, statuses []corev1.ContainerStatus) TreeNode {
	n := TreeNode{Object: object, Health: string(health.Progressing), Message: "not started"}
	i := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == name })
	if i < 0 {
		return n
	}
	s := statuses[i]
	switch st := s.State; {
	case st.Running != nil && s.Ready:
		n.Health, n.Message = string(health.Healthy), "running"
	case st.Running != nil:
		n.Message = "running, not ready"
	case st.Terminated != nil:
		n.Health, n.Message = string(health.Healthy), "done"
		if st.Terminated.ExitCode != 0 {
			n.Health, n.Message = string(health.Degraded), fmt.Sprintf("ended with exit status %d", st.Terminated.ExitCode)
			if st.Terminated.Reason != "" {
				n.Message += ", " + st.Terminated.Reason
			}
		}
	case st.Waiting != nil:
		if slices.Contains(failing, st.Waiting.Reason) {
			n.Health = string(health.Degraded)
		}
		n.Message = st.Waiting.Reason
		if st.Waiting.Message != "" {
			n.Message += ": " + st.Waiting.Message
		}
	}
	if s.RestartCount > 0 {
		n.Message += fmt.Sprintf("; %d restarts", s.RestartCount)
		if t := s.LastTerminationState.Terminated; t != nil && t.ExitCode != 0 {
			n.Message += fmt.Sprintf(", the last with exit status %d", t.ExitCode)
		}
	}
	return n
}

// writeTree draws the trees of one Application.
func writeTree(p *printer, nodes []TreeNode) {
	t := table{indent: "  "}
	var grow func(nodes []TreeNode, prefix string)
	grow = func(nodes []TreeNode, prefix string) {
		for i, n := range nodes {
			branch, further := "├─ ", "│  "
			if i == len(nodes)-1 {
				branch, further = "└─ ", "   "
			}
			message := oneLine(n.Message, 100)
			if n.Drift > 0 {
				message = strings.TrimSuffix(fmt.Sprintf("differs from Git in %d; %s", n.Drift, message), "; ")
			}
			t.add(plain(prefix+branch+n.Object), state(n.Health), plain(message))
			grow(n.Children, prefix+further)
		}
	}
	grow(nodes, "")
	t.write(p)
}
