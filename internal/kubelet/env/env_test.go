package env

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

type objects struct {
	maps    map[string]*v1.ConfigMap
	secrets map[string]*v1.Secret
}

func (o *objects) ConfigMap(name string) (*v1.ConfigMap, error) {
	if m := o.maps[name]; m != nil {
		return m, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
}

func (o *objects) Secret(name string) (*v1.Secret, error) {
	if s := o.secrets[name]; s != nil {
		return s, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
}

// TestOf plays the scripts in testdata: "configmap", "secret" and "service" make objects from YAML, "pod" computes the environment and the
// command of the first container of a Pod.
func TestOf(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		src := &objects{map[string]*v1.ConfigMap{}, map[string]*v1.Secret{}}
		var services []*v1.Service
		facts := Facts{PodIPs: []string{"10.42.0.7", "fd00::7"}, HostIPs: []string{"192.0.2.1"}, Allocatable: v1.ResourceList{
			v1.ResourceCPU: resource.MustParse("4"), v1.ResourceMemory: resource.MustParse("8Gi"),
		}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			load := func(to any) {
				if err := yaml.UnmarshalStrict([]byte(d.Input), to); err != nil {
					d.Fatalf(t, "%v", err)
				}
			}
			switch d.Cmd {
			case "configmap":
				m := &v1.ConfigMap{}
				load(m)
				src.maps[m.Name] = m
			case "secret":
				s := &v1.Secret{}
				load(s)
				src.secrets[s.Name] = s
			case "service":
				s := &v1.Service{}
				load(s)
				services = append(services, s)
			case "pod":
				p := &v1.Pod{}
				load(p)
				c := &p.Spec.Containers[0]
				vars, err := Of(p, c, facts, src, services)
				if err != nil {
					return "error: " + err.Error() + "\n"
				}
				var b strings.Builder
				for _, v := range vars {
					fmt.Fprintf(&b, "%s=%s\n", v.Name, v.Value)
				}
				if len(c.Command)+len(c.Args) > 0 {
					fmt.Fprintf(&b, "runs %q\n", Command(append(c.Command, c.Args...), vars))
				}
				return b.String()
			default:
				d.Fatalf(t, "unknown command %q", d.Cmd)
			}
			return ""
		})
	})
}
