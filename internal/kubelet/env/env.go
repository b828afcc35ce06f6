package env

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Sources gives the objects that a Pod refers to, from the Pod's own namespace. A missing one is a NotFound error of the API.
type Sources interface {
	ConfigMap(name string) (*v1.ConfigMap, error)
	Secret(name string) (*v1.Secret, error)
}

// Var is one environment variable.
type Var struct{ Name, Value string }

// Of computes a container's environment: the variables of Services first, then envFrom, then env, a later definition of a name replacing an earlier one.
func Of(pod *v1.Pod, c *v1.Container, f Facts, src Sources, services []*v1.Service) ([]Var, error) {
	vars := vars{at: map[string]int{}}
	for _, v := range serviceVars(pod, services) {
		vars.set(v.Name, v.Value)
	}
	for _, from := range c.EnvFrom {
		data, err := envFrom(from, src)
		if err != nil {
			return nil, err
		}
		for _, k := range slices.Sorted(maps.Keys(data)) {
			vars.set(from.Prefix+k, data[k])
		}
	}
	for i := range c.Env {
		e := &c.Env[i]
		if e.ValueFrom == nil {
			vars.set(e.Name, Expand(e.Value, vars.get))
			continue
		}
		value, present, err := valueFrom(pod, c, f, src, e.ValueFrom)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", e.Name, err)
		}
		if present {
			vars.set(e.Name, value)
		}
	}
	return vars.list, nil
}

// Command expands the container's command and arguments with its own variables.
func Command(words []string, vars []Var) []string {
	lookup := func(name string) (string, bool) {
		for i := len(vars) - 1; i >= 0; i-- {
			if vars[i].Name == name {
				return vars[i].Value, true
			}
		}
		return "", false
	}
	out := make([]string, 0, len(words))
	for _, w := range words {
		out = append(out, Expand(w, lookup))
	}
	return out
}

// vars is an ordered set of variables.
type vars struct {
	list []Var
	at   map[string]int
}

func (v *vars) set(name, value string) {
	if i, ok := v.at[name]; ok {
		v.list[i].Value = value
		return
	}
	v.at[name] = len(v.list)
	v.list = append(v.list, Var{name, value})
}

func (v *vars) get(name string) (string, bool) {
	i, ok := v.at[name]
	if !ok {
		return "", false
	}
	return v.list[i].Value, true
}

func envFrom(from v1.EnvFromSource, src Sources) (map[string]string, error) {
	switch {
	case from.ConfigMapRef != nil:
		m, err := src.ConfigMap(from.ConfigMapRef.Name)
		if err != nil {
			return nil, optional(err, from.ConfigMapRef.Optional)
		}
		return m.Data, nil
	case from.SecretRef != nil:
		s, err := src.Secret(from.SecretRef.Name)
		if err != nil {
			return nil, optional(err, from.SecretRef.Optional)
		}
		out := make(map[string]string, len(s.Data))
		for k, v := range s.Data {
			out[k] = string(v)
		}
		return out, nil
	}
	return nil, nil
}

func optional(err error, opt *bool) error {
	if opt != nil && *opt && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func valueFrom(pod *v1.Pod, c *v1.Container, f Facts, src Sources, from *v1.EnvVarSource) (value string, present bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = Field(pod, f, from.FieldRef.FieldPath)
	case from.ResourceFieldRef != nil:
		value, err = Resource(pod, f, c, from.ResourceFieldRef)
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		m, err := src.ConfigMap(ref.Name)
		if err != nil {
			return "", false, optional(err, ref.Optional)
		}
		v, ok := m.Data[ref.Key]
		return v, ok, missingKey(ok, ref.Optional, ref.Key, "ConfigMap", m.Namespace, m.Name)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s, err := src.Secret(ref.Name)
		if err != nil {
			return "", false, optional(err, ref.Optional)
		}
		v, ok := s.Data[ref.Key]
		return string(v), ok, missingKey(ok, ref.Optional, ref.Key, "Secret", s.Namespace, s.Name)
	}
	return value, err == nil, err
}

func missingKey(ok bool, opt *bool, key, kind, namespace, name string) error {
	if ok || opt != nil && *opt {
		return nil
	}
	return fmt.Errorf("couldn't find key %s in %s %s/%s; add the key, or mark the reference optional", key, kind, namespace, name)
}

// serviceVars gives the variables <NAME>_SERVICE_HOST and so on, for the Services of the Pod's namespace if it wants them, and for the API server's always.
func serviceVars(pod *v1.Pod, services []*v1.Service) []Var {
	wanted := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	var out []Var
	list := slices.Clone(services)
	slices.SortFunc(list, func(a, b *v1.Service) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	seen := map[string]bool{}
	for _, s := range list {
		api := s.Namespace == v1.NamespaceDefault && s.Name == "kubernetes"
		if !api && (!wanted || s.Namespace != pod.Namespace) || s.Spec.ClusterIP == "" || s.Spec.ClusterIP == v1.ClusterIPNone || len(s.Spec.Ports) == 0 || seen[s.Name] {
			continue
		}
		seen[s.Name] = true
		name := strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
		ip := s.Spec.ClusterIP
		out = append(out, Var{name + "_SERVICE_HOST", ip}, Var{name + "_SERVICE_PORT", port(s.Spec.Ports[0])})
		for _, p := range s.Spec.Ports {
			if p.Name != "" {
				out = append(out, Var{name + "_SERVICE_PORT_" + strings.ToUpper(strings.ReplaceAll(p.Name, "-", "_")), port(p)})
			}
		}
		for i, p := range s.Spec.Ports {
			proto := strings.ToLower(string(cmp.Or(p.Protocol, v1.ProtocolTCP)))
			url := proto + "://" + net.JoinHostPort(ip, port(p))
			if i == 0 {
				out = append(out, Var{name + "_PORT", url})
			}
			prefix := name + "_PORT_" + port(p) + "_" + strings.ToUpper(proto)
			out = append(out, Var{prefix, url}, Var{prefix + "_PROTO", proto}, Var{prefix + "_PORT", port(p)}, Var{prefix + "_ADDR", ip})
		}
	}
	return out
}

func port(p v1.ServicePort) string { return strconv.Itoa(int(p.Port)) }
