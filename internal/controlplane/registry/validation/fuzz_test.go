package validation_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/objecttest"
)

// FuzzPodFromJSON takes whatever JSON decodes as a Pod through all that happens to a Pod on its way in and out.
func FuzzPodFromJSON(f *testing.F) {
	for _, file := range []string{"pod", "pod_containers", "pod_volumes", "pod_scheduling"} {
		for _, seed := range seeds(f, "testdata/"+file) {
			f.Add(seed)
		}
	}
	f.Add([]byte(`{"spec":{"containers":[{}],"initContainers":[{}],"ephemeralContainers":[{}],"volumes":[{"projected":{"sources":[{}]}}],"os":{}}}`))
	f.Add([]byte(`{"spec":{"schedulingGates":[{}],"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{}}}}}`))
	scheme, err := objecttest.NewScheme()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var pod, old corev1.Pod
		if json.Unmarshal(data, &pod) != nil {
			t.Skip("not a Pod")
		}
		exercise(t, scheme, &pod, &old)
	})
}

// FuzzEveryKind fills objects of each kind with random values, empty and half-filled parts among them.
func FuzzEveryKind(f *testing.F) {
	for kind := range kinds {
		for seed := range int64(20) {
			f.Add(uint8(kind), seed)
		}
	}
	scheme, err := objecttest.NewScheme()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, kind uint8, seed int64) {
		fill := randfill.NewWithSeed(seed).NilChance(0.4).NumElements(0, 2).Funcs(
			func(q *resource.Quantity, c randfill.Continue) {
				*q = *resource.NewMilliQuantity(c.Int63()-1<<62, resource.DecimalSI)
			},
			func(p *intstr.IntOrString, c randfill.Continue) {
				*p = intstr.IntOrString{Type: intstr.Type(c.Intn(3)), IntVal: c.Int31(), StrVal: c.String(5)}
			},
			func(*metav1.FieldsV1, randfill.Continue) {},
			func(*runtime.RawExtension, randfill.Continue) {},
		)
		obj := kinds[int(kind)%len(kinds)].DeepCopyObject()
		empty := obj.DeepCopyObject()
		fill.Fill(obj)
		exercise(t, scheme, obj, empty)
	})
}

// kinds are all that have rules.
var kinds = []runtime.Object{
	&corev1.Pod{}, &corev1.Service{}, &corev1.Namespace{}, &corev1.Node{}, &corev1.ConfigMap{}, &corev1.Secret{}, &corev1.ServiceAccount{},
	&corev1.Event{}, &corev1.Binding{}, &eventsv1.Event{}, &appsv1.Deployment{}, &appsv1.ReplicaSet{}, &discoveryv1.EndpointSlice{},
	&coordinationv1.Lease{}, &certificatesv1.CertificateSigningRequest{}, &policyv1.Eviction{}, &autoscalingv1.Scale{},
	&authenticationv1.TokenRequest{}, &v1alpha1.Application{},
}

// exercise defaults, judges and shows an object, alone, against an empty one and against itself.
func exercise(t *testing.T, scheme *runtime.Scheme, obj, empty runtime.Object) {
	t.Helper()
	for _, o := range []runtime.Object{empty, obj} {
		scheme.Default(o)
		once := o.DeepCopyObject()
		scheme.Default(o)
		if !apiequality.Semantic.DeepEqual(once, o) {
			t.Errorf("defaults of %T are not the same the second time:\n%s", o, diff.Diff(once, o))
		}
	}
	for _, verb := range []string{"create", "update", "status", "approval", "finalize", "ephemeral"} {
		rule := ruleOf(obj, verb)
		if rule == nil {
			continue
		}
		before := obj.DeepCopyObject()
		for _, pair := range [][2]runtime.Object{{obj, obj}, {obj, empty}, {empty, obj}} {
			for _, e := range rule(pair[0], pair[1]) {
				_ = e.Error() // formats the value, whatever it is
			}
		}
		if !apiequality.Semantic.DeepEqual(before, obj) {
			t.Errorf("%s changed the %T:\n%s", verb, obj, diff.Diff(before, obj))
		}
	}
	if want, got := columnsOf(obj); want != got {
		t.Errorf("%T is shown in %d cells under %d columns", obj, got, want)
	}
}

// columnsOf returns the number of columns and of cells.
func columnsOf(obj runtime.Object) (columnCount, cells int) {
	switch o := obj.(type) {
	case *corev1.Pod:
		return sizes(columns.Pod, o)
	case *corev1.Service:
		return sizes(columns.Service, o)
	case *corev1.Namespace:
		return sizes(columns.Namespace, o)
	case *corev1.Node:
		return sizes(columns.Node, o)
	case *corev1.ConfigMap:
		return sizes(columns.ConfigMap, o)
	case *corev1.Secret:
		return sizes(columns.Secret, o)
	case *corev1.ServiceAccount:
		return sizes(columns.ServiceAccount, o)
	case *corev1.Event:
		return sizes(columns.Event, o)
	case *eventsv1.Event:
		return sizes(columns.EventV1, o)
	case *appsv1.Deployment:
		return sizes(columns.Deployment, o)
	case *appsv1.ReplicaSet:
		return sizes(columns.ReplicaSet, o)
	case *discoveryv1.EndpointSlice:
		return sizes(columns.EndpointSlice, o)
	case *coordinationv1.Lease:
		return sizes(columns.Lease, o)
	case *certificatesv1.CertificateSigningRequest:
		return sizes(columns.CertificateSigningRequest, o)
	case *v1alpha1.Application:
		return sizes(columns.Application, o)
	}
	return 0, 0 // only ever posted
}

func sizes[T any](table columns.Table[T], obj T) (columnCount, cells int) {
	return len(table.Columns), len(table.Row(obj))
}

// seeds are the objects that a script's cases are made of.
func seeds(f *testing.F, path string) [][]byte {
	f.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "base\n")
	baseText, rest, _ := strings.Cut(after, "\n----\n")
	base, err := objecttest.Parse(baseText)
	if err != nil {
		f.Fatal(err)
	}
	var out [][]byte
	for _, part := range strings.Split(rest, "\ncreate\n")[1:] {
		changes, _, _ := strings.Cut(part, "\n----\n")
		obj, err := base.With(changes)
		if err != nil {
			f.Fatal(err)
		}
		seed, err := yaml.Marshal(obj)
		if err == nil {
			seed, err = yaml.YAMLToJSON(seed)
		}
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, seed)
	}
	return out
}
