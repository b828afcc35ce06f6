package inventory

import (
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Resource is a kind of object as the API server serves it.
type Resource struct {
	schema.GroupVersionResource
	Kind       string
	Namespaced bool
	Verbs      []string
}

// Can says whether the API server offers all these verbs.
func (r Resource) Can(verbs ...string) bool {
	return !slices.ContainsFunc(verbs, func(v string) bool { return !slices.Contains(r.Verbs, v) })
}

// key is what stays the same when the preferred version changes.
func (r Resource) key() schema.GroupResource { return r.GroupResource() }

// ignored are Events, in both groups that serve them.
var ignored = map[schema.GroupResource]bool{{Resource: "events"}: true, {Group: "events.k8s.io", Resource: "events"}: true}

// discover lists the resources in their preferred versions. Groups whose server does not answer are in failed: nothing is known about them now,
// which is not the same as that they are gone.
func discover(d discovery.DiscoveryInterface) (found []Resource, failed map[string]error, err error) {
	lists, err := d.ServerPreferredResources()
	failed = map[string]error{}
	if err != nil {
		var partial *discovery.ErrGroupDiscoveryFailed
		if !errors.As(err, &partial) {
			return nil, nil, fmt.Errorf("discovering the API's resources: %w", err)
		}
		for gv, e := range partial.Groups {
			failed[gv.Group] = e
		}
	}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, nil, fmt.Errorf("discovering the API's resources: group version %q: %w", list.GroupVersion, err)
		}
		for _, r := range list.APIResources {
			found = append(found, resourceOf(gv, r))
		}
	}
	return found, failed, nil
}

func resourceOf(gv schema.GroupVersion, r metav1.APIResource) Resource {
	if r.Group != "" {
		gv.Group = r.Group
	}
	if r.Version != "" {
		gv.Version = r.Version
	}
	return Resource{GroupVersionResource: gv.WithResource(r.Name), Kind: r.Kind, Namespaced: r.Namespaced, Verbs: r.Verbs}
}
