package devices

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
)

// Assigned are the devices that containers of a Pod have: container → resource → IDs.
type Assigned map[string]map[v1.ResourceName][]string

// all gives every device of a resource that the Pod has, each once.
func (a Assigned) all(resource v1.ResourceName) []string {
	var out []string
	for _, of := range a {
		out = append(out, of[resource]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// shortage says that there are too few devices.
type shortage struct {
	resource          v1.ResourceName
	wanted, available int
}

func (s *shortage) Error() string {
	return fmt.Sprintf("requested number of devices unavailable for %s. Requested: %d, Available: %d", s.resource, s.wanted, s.available)
}

// Assign gives a Pod's containers devices out of those that are free. What init containers had is used again by those that run after them; sidecars keep theirs. known says whether a
// resource is one of a plugin's: others are somebody else's to give.
func Assign(pod *v1.Pod, known func(v1.ResourceName) bool, free func(v1.ResourceName) []string) (Assigned, error) {
	out := Assigned{}
	left, again := map[v1.ResourceName][]string{}, map[v1.ResourceName][]string{}
	give := func(c *v1.Container, keeps bool) error {
		for name, q := range c.Resources.Limits {
			n := int(q.Value())
			if n == 0 || !known(name) {
				continue
			}
			if _, ok := left[name]; !ok {
				left[name] = slices.Sorted(slices.Values(free(name)))
			}
			pool := slices.Concat(again[name], left[name])
			if len(pool) < n {
				return &shortage{name, n, len(pool)}
			}
			got := slices.Clone(pool[:n])
			used := func(id string) bool { return slices.Contains(got, id) }
			left[name] = slices.DeleteFunc(left[name], used)
			again[name] = slices.DeleteFunc(again[name], used)
			if !keeps {
				again[name] = slices.Concat(got, again[name])
			}
			if out[c.Name] == nil {
				out[c.Name] = map[v1.ResourceName][]string{}
			}
			out[c.Name][name] = got
		}
		return nil
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if err := give(c, c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways); err != nil {
			return nil, err
		}
	}
	for i := range pod.Spec.Containers {
		if err := give(&pod.Spec.Containers[i], true); err != nil {
			return nil, err
		}
	}
	return out, nil
}
