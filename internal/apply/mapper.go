package apply

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/restmapper"
)

// Mapper knows which resource serves a kind. It asks the server once, and again only when it is asked for a kind that it does not know or when
// told that the kinds may have changed.
type Mapper struct {
	discovery discovery.DiscoveryInterface

	mu      sync.Mutex
	current meta.RESTMapper
	served  []string
}

// NewMapper makes a Mapper that asks the given server.
func NewMapper(d discovery.DiscoveryInterface) *Mapper { return &Mapper{discovery: d} }

// Forget makes the next question ask the server.
func (m *Mapper) Forget() {
	m.mu.Lock()
	m.current = nil
	m.mu.Unlock()
}

// Mapping returns the resource for a kind. fresh asks the server also when an older answer knows nothing of the kind; a caller with many
// kinds does that once and not for each.
func (m *Mapper) Mapping(ctx context.Context, gvk schema.GroupVersionKind, fresh bool) (*meta.RESTMapping, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	asked := false
	if m.current == nil {
		if err := m.ask(ctx); err != nil {
			return nil, err
		}
		asked = true
	}
	mapping, err := m.current.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) && fresh && !asked {
		if err := m.ask(ctx); err != nil {
			return nil, err
		}
		return m.current.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	return mapping, err
}

// Knows says whether the server has a kind in any version. It is asked afresh: that a kind is not there is worth being sure of.
func (m *Mapper) Knows(ctx context.Context, gk schema.GroupKind) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := func() bool {
		if m.current == nil {
			return false
		}
		_, err := m.current.RESTMappings(gk)
		return err == nil
	}
	if known() {
		return true, nil
	}
	if err := m.ask(ctx); err != nil {
		return false, err
	}
	return known(), nil
}

// Versions lists the versions of a group's kind that the server serves, for messages.
func (m *Mapper) Versions(gk schema.GroupKind) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current == nil {
		return nil
	}
	all, err := m.current.RESTMappings(gk)
	if err != nil {
		return nil
	}
	var out []string
	for _, r := range all {
		out = append(out, r.GroupVersionKind.GroupVersion().String())
	}
	return out
}

// Served lists what the server serves, as charts ask about it: v1, apps/v1, apps/v1/Deployment. The list is shared and must not be changed.
func (m *Mapper) Served(ctx context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current == nil {
		if err := m.ask(ctx); err != nil {
			return nil, err
		}
	}
	return m.served, nil
}

func (m *Mapper) ask(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	groups, err := restmapper.GetAPIGroupResources(m.discovery)
	if err != nil && len(groups) == 0 {
		return err
	}
	m.current = restmapper.NewDiscoveryRESTMapper(groups)
	m.served = nil
	for _, g := range groups {
		for version, resources := range g.VersionedResources {
			gv := schema.GroupVersion{Group: g.Group.Name, Version: version}.String()
			m.served = append(m.served, gv)
			for _, r := range resources {
				m.served = append(m.served, gv+"/"+r.Kind)
			}
		}
	}
	slices.Sort(m.served)
	m.served = slices.Compact(m.served)
	return nil
}
