package apply

import (
	"context"
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

func (m *Mapper) ask(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	groups, err := restmapper.GetAPIGroupResources(m.discovery)
	if err != nil && len(groups) == 0 {
		return err
	}
	m.current = restmapper.NewDiscoveryRESTMapper(groups)
	return nil
}
