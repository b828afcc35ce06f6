package env

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Facts are what of a Pod is known only on its node.
type Facts struct {
	PodIPs, HostIPs []string
	// Allocatable stands in for limits that a container does not set.
	Allocatable v1.ResourceList
}

// Field gives the value of a downward field such as metadata.labels['app'] or status.podIP.
func Field(pod *v1.Pod, f Facts, path string) (string, error) {
	if base, key, ok := subscript(path); ok {
		switch base {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
		return "", fmt.Errorf("field %q: only metadata.labels and metadata.annotations take a key", path)
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return quoted(pod.Labels), nil
	case "metadata.annotations":
		return quoted(pod.Annotations), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(f.HostIPs), nil
	case "status.hostIPs":
		return strings.Join(f.HostIPs, ","), nil
	case "status.podIP":
		return first(f.PodIPs), nil
	case "status.podIPs":
		return strings.Join(f.PodIPs, ","), nil
	}
	return "", fmt.Errorf("field %q is not one that a Pod can be told; see `kubectl explain pod.spec.containers.env.valueFrom.fieldRef`", path)
}

func subscript(path string) (base, key string, ok bool) {
	base, rest, found := strings.Cut(path, "['")
	if !found {
		return path, "", false
	}
	key, found = strings.CutSuffix(rest, "']")
	return base, key, found
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// quoted writes labels or annotations one per line, as key="value" with Go's escapes, which is what downward volumes have always held.
func quoted(m map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s=%q", k, m[k])
	}
	return b.String()
}

// Resource gives a container's limit or request in units of the selector's divisor, rounded up.
func Resource(pod *v1.Pod, f Facts, self *v1.Container, sel *v1.ResourceFieldSelector) (string, error) {
	c := self
	if sel.ContainerName != "" {
		c = find(pod, sel.ContainerName)
	}
	if c == nil {
		return "", fmt.Errorf("resourceFieldRef %q: the Pod has no container %q", sel.Resource, sel.ContainerName)
	}
	kind, name, _ := strings.Cut(sel.Resource, ".")
	res := v1.ResourceName(name)
	var q resource.Quantity
	switch kind {
	case "limits":
		q = c.Resources.Limits[res]
		if q.IsZero() { // what the node has is the limit then
			q = f.Allocatable[res]
		}
	case "requests":
		q = c.Resources.Requests[res]
	default:
		return "", fmt.Errorf("resourceFieldRef %q: must start with \"limits.\" or \"requests.\"", sel.Resource)
	}
	div := sel.Divisor
	if div.IsZero() {
		div = resource.MustParse("1")
	}
	if res == v1.ResourceCPU {
		return strconv.FormatInt(ceil(q.MilliValue(), div.MilliValue()), 10), nil
	}
	return strconv.FormatInt(ceil(q.Value(), max(div.Value(), 1)), 10), nil
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }

func find(pod *v1.Pod, name string) *v1.Container {
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
