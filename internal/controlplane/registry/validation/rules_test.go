package validation_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/objecttest"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// TestEachRuleAnswersAsWritten runs the scripts in testdata, one per kind. A script sets a valid object with
//
//	base
//	<object in YAML>
//	----
//	ok
//
// and then says what is wrong with objects that differ from it in a few fields, given as "path: value":
//
//	create                  update
//	<changes>               <changes that make the stored object>
//	----                    ---
//	<errors>                <changes that make the new object from it>
//	                        ----
//	                        <errors>
//
// The first part of an update may be left out. status, approval, finalize and ephemeral are updates through the subresource of
// that name. Each object is decoded strictly and completed with its defaults before it is judged, as by the API server.
func TestEachRuleAnswersAsWritten(t *testing.T) {
	scheme, err := objecttest.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var base objecttest.Object
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "base" {
				var err error
				if base, err = objecttest.Parse(d.Input); err != nil {
					d.Fatalf(t, "base: %v", err)
				}
				return judge(scheme, base, nil, "create")
			}
			changes, last := "", d.Input
			if first, second, two := strings.Cut(d.Input, "\n---\n"); two {
				changes, last = first, second
			}
			old, err := base.With(changes)
			if err != nil {
				d.Fatalf(t, "stored object: %v", err)
			}
			obj, err := old.With(last)
			if err != nil {
				d.Fatalf(t, "new object: %v", err)
			}
			return judge(scheme, obj, old, d.Cmd)
		})
	})
}

func judge(scheme *runtime.Scheme, raw, rawOld objecttest.Object, verb string) string {
	obj, err := complete(scheme, raw)
	if err != nil {
		return err.Error()
	}
	old := obj
	if verb != "create" {
		if old, err = complete(scheme, rawOld); err != nil {
			return "stored object: " + err.Error()
		}
		for _, o := range []runtime.Object{obj, old} {
			if m := o.(metav1.Object); m.GetResourceVersion() == "" {
				m.SetResourceVersion("1")
			}
		}
	}
	rule := ruleOf(obj, verb)
	if rule == nil {
		return fmt.Sprintf("%T has no rule for %q", obj, verb)
	}
	errs := rule(obj, old)
	if len(errs) == 0 {
		return "ok"
	}
	var out strings.Builder
	for _, e := range errs {
		line, _, _ := strings.Cut(e.Error(), "\n") // a difference of whole specs may follow
		if i := strings.Index(line, " (e.g. "); i > 0 && strings.Contains(line, "regex used for validation") {
			line = line[:i] // the library's examples say the same each time
		}
		fmt.Fprintln(&out, line)
	}
	return out.String()
}

func complete(scheme *runtime.Scheme, raw objecttest.Object) (runtime.Object, error) {
	obj, err := raw.Decode(scheme)
	if err != nil {
		return nil, err
	}
	scheme.Default(obj)
	return obj, nil
}

type rule func(obj, old runtime.Object) field.ErrorList

// on makes rules of one kind rules of any object.
func on[T runtime.Object](create func(T) field.ErrorList, updates map[string]func(obj, old T) field.ErrorList) func(verb string) rule {
	return func(verb string) rule {
		if verb == "create" {
			return func(obj, _ runtime.Object) field.ErrorList { return create(obj.(T)) }
		}
		if update := updates[verb]; update != nil {
			return func(obj, old runtime.Object) field.ErrorList { return update(obj.(T), old.(T)) }
		}
		return nil
	}
}

func ruleOf(obj runtime.Object, verb string) rule {
	switch obj.(type) {
	case *corev1.Pod:
		return on(validation.Pod, map[string]func(obj, old *corev1.Pod) field.ErrorList{
			"update": validation.PodUpdate, "status": validation.PodStatusUpdate, "ephemeral": validation.PodEphemeralContainersUpdate,
		})(verb)
	case *corev1.Service:
		return on(validation.Service, map[string]func(obj, old *corev1.Service) field.ErrorList{
			"update": validation.ServiceUpdate, "status": validation.ServiceStatusUpdate,
		})(verb)
	case *corev1.Namespace:
		return on(validation.Namespace, map[string]func(obj, old *corev1.Namespace) field.ErrorList{
			"update": validation.NamespaceUpdate, "status": validation.NamespaceStatusUpdate, "finalize": validation.NamespaceFinalizeUpdate,
		})(verb)
	case *corev1.Node:
		return on(validation.Node, map[string]func(obj, old *corev1.Node) field.ErrorList{
			"update": validation.NodeUpdate, "status": validation.NodeStatusUpdate,
		})(verb)
	case *corev1.ConfigMap:
		return on(validation.ConfigMap, map[string]func(obj, old *corev1.ConfigMap) field.ErrorList{"update": validation.ConfigMapUpdate})(verb)
	case *corev1.Secret:
		return on(validation.Secret, map[string]func(obj, old *corev1.Secret) field.ErrorList{"update": validation.SecretUpdate})(verb)
	case *corev1.ServiceAccount:
		return on(validation.ServiceAccount, map[string]func(obj, old *corev1.ServiceAccount) field.ErrorList{"update": validation.ServiceAccountUpdate})(verb)
	case *corev1.Event:
		return on(validation.Event, map[string]func(obj, old *corev1.Event) field.ErrorList{"update": validation.EventUpdate})(verb)
	case *corev1.Binding:
		return on(validation.Binding, nil)(verb)
	case *eventsv1.Event:
		return on(validation.EventV1, map[string]func(obj, old *eventsv1.Event) field.ErrorList{"update": validation.EventV1Update})(verb)
	case *appsv1.Deployment:
		return on(validation.Deployment, map[string]func(obj, old *appsv1.Deployment) field.ErrorList{
			"update": validation.DeploymentUpdate, "status": validation.DeploymentStatusUpdate,
		})(verb)
	case *appsv1.ReplicaSet:
		return on(validation.ReplicaSet, map[string]func(obj, old *appsv1.ReplicaSet) field.ErrorList{
			"update": validation.ReplicaSetUpdate, "status": validation.ReplicaSetStatusUpdate,
		})(verb)
	case *discoveryv1.EndpointSlice:
		return on(validation.EndpointSlice, map[string]func(obj, old *discoveryv1.EndpointSlice) field.ErrorList{"update": validation.EndpointSliceUpdate})(verb)
	case *coordinationv1.Lease:
		return on(validation.Lease, map[string]func(obj, old *coordinationv1.Lease) field.ErrorList{"update": validation.LeaseUpdate})(verb)
	case *certificatesv1.CertificateSigningRequest:
		return on(validation.CertificateSigningRequest, map[string]func(obj, old *certificatesv1.CertificateSigningRequest) field.ErrorList{
			"update":   validation.CertificateSigningRequestUpdate,
			"approval": validation.CertificateSigningRequestApprovalUpdate,
			"status":   validation.CertificateSigningRequestStatusUpdate,
		})(verb)
	case *policyv1.Eviction:
		return on(validation.Eviction, nil)(verb)
	case *autoscalingv1.Scale:
		return on(validation.Scale, nil)(verb)
	case *authenticationv1.TokenRequest:
		return on(validation.TokenRequest, nil)(verb)
	case *v1alpha1.Application:
		return on(validation.Application, map[string]func(obj, old *v1alpha1.Application) field.ErrorList{
			"update": validation.ApplicationUpdate, "status": validation.ApplicationStatusUpdate,
		})(verb)
	}
	for _, k := range moreKinds {
		if k.is(obj) {
			return k.rule(verb)
		}
	}
	return nil
}
