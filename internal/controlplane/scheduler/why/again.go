package why

import (
	"strings"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
)

// changes are in words what a filter may hear of.
var changes = []struct {
	is   plugins.Change
	what string
}{
	{plugins.Added, "a node comes"},
	{plugins.Removed, "a node goes"},
	{plugins.Labels, "a node's labels change"},
	{plugins.Taints, "a node's taints change or it is uncordoned"},
	{plugins.Allocatable, "a node offers more"},
	{plugins.PodGone, "a Pod leaves a node"},
	{plugins.PodPlaced, "a Pod is placed"},
	{plugins.Namespaces, "a namespace's labels change"},
	{plugins.Claims, "one of its claims changes"},
	{plugins.Storage, "volumes, storage classes or drivers change"},
	{plugins.Devices, "devices, their classes or claims to them change"},
}

// again says which changes have the scheduler look at a parked Pod again: those that concern a filter that turned it away, which is the first to fail on a node.
func again(nodes []Node, filters []plugins.Filter) string {
	failed := map[string]bool{}
	for _, n := range nodes {
		if len(n.Failures) > 0 {
			failed[n.Failures[0].Filter] = true
		}
	}
	var concern plugins.Change
	for _, f := range filters {
		if failed[f.Name()] {
			concern |= f.Concerns()
		}
	}
	var whats []string
	for _, c := range changes {
		if concern&c.is != 0 {
			whats = append(whats, c.what)
		}
	}
	if len(whats) == 0 {
		return ""
	}
	list := whats[len(whats)-1]
	if more := whats[:len(whats)-1]; len(more) > 0 {
		list = strings.Join(more, ", ") + " or " + list
	}
	return "it is looked at again when " + list + ", if that may help it, and every five minutes in any case"
}
