package server_test

import (
	"context"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

const widgets = `
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    selectableFields: [{jsonPath: .spec.color}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            x-kubernetes-validations: [{rule: "self.size <= 10 || self.color == 'red'", message: "only red widgets are large"}]
            properties:
              size: {type: integer, default: 3}
              color: {type: string, default: blue}
              replicas: {type: integer}
          status: {type: object, properties: {replicas: {type: integer}}}
`

var widgetsResource = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// define creates the CustomResourceDefinition and waits until the API serves it.
func define(t *testing.T, c *servertest.Cluster, text string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	client, err := apiextensions.NewForConfig(c.System)
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict([]byte(text), crd); err != nil {
		t.Fatal(err)
	}
	crd, err = client.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), crd, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w, err := watchtools.NewRetryWatcherWithContext(ctx, crd.ResourceVersion, byName(crd.Name, client.ApiextensionsV1().CustomResourceDefinitions().Watch))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if _, err := watchtools.UntilWithoutRetry(ctx, w, func(e watch.Event) (bool, error) {
		d, ok := e.Object.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			return false, apierrors.FromObject(e.Object)
		}
		for _, cond := range d.Status.Conditions {
			if cond.Type == apiextensionsv1.Established && cond.Status == apiextensionsv1.ConditionTrue {
				return true, nil
			}
		}
		return false, nil
	}); err != nil {
		t.Fatalf("%s is not established: %v", crd.Name, err)
	}
	return crd
}

// resources makes the namespace default and is the resource in it.
func resources(t *testing.T, c *servertest.Cluster, gvr schema.GroupVersionResource) dynamic.ResourceInterface {
	t.Helper()
	kube, err := kubernetes.NewForConfig(c.System)
	if err != nil {
		t.Fatal(err)
	}
	namespace(t, kube, "default")
	return inDefault(t, c, gvr)
}

func inDefault(t *testing.T, c *servertest.Cluster, gvr schema.GroupVersionResource) dynamic.ResourceInterface {
	t.Helper()
	client, err := dynamic.NewForConfig(c.System)
	if err != nil {
		t.Fatal(err)
	}
	return client.Resource(gvr).Namespace("default")
}

func TestACustomResourceIsDefaultedPrunedAndJudgedByItsRules(t *testing.T) {
	c := servertest.Start(t)
	define(t, c, widgets)
	r := resources(t, c, widgetsResource)
	created, err := r.Create(t.Context(), object(t, `
apiVersion: example.com/v1
kind: Widget
metadata: {name: a}
spec: {size: 5, unknown: 1}
status: {replicas: 7}`), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec, _, _ := unstructured.NestedMap(created.Object, "spec")
	if spec["color"] != "blue" || spec["unknown"] != nil || created.Object["status"] != nil {
		t.Errorf("stored %v, want the default color, no unknown field, and no status, which has its own subresource", created.Object)
	}
	_, err = r.Create(t.Context(), object(t, `
apiVersion: example.com/v1
kind: Widget
metadata: {name: b}
spec: {size: 11}`), metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "only red widgets are large") {
		t.Errorf("a large blue widget: %v, want the rule's own message", err)
	}
	_, err = r.Create(t.Context(), object(t, `
apiVersion: example.com/v1
kind: Widget
metadata: {name: c}
spec: {unknown: 1}`), metav1.CreateOptions{FieldValidation: "Strict"})
	if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), `unknown field "spec.unknown"`) {
		t.Errorf("an unknown field under strict validation: %v, want its name", err)
	}
	if list, err := r.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.color=blue"}); err != nil || len(list.Items) != 1 {
		t.Errorf("by a selectable field: %v, %v, want one widget", list, err)
	}
}

func TestADeletedDefinitionTakesItsResourcesAndItsAPIAway(t *testing.T) {
	c := servertest.Start(t)
	crd := define(t, c, widgets)
	r := resources(t, c, widgetsResource)
	if _, err := r.Create(t.Context(), object(t, "{apiVersion: example.com/v1, kind: Widget, metadata: {name: a}, spec: {}}"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client := apiextensions.NewForConfigOrDie(c.System)
	if err := client.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), crd.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w, err := watchtools.NewRetryWatcherWithContext(ctx, crd.ResourceVersion, byName(crd.Name, client.ApiextensionsV1().CustomResourceDefinitions().Watch))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if _, err := watchtools.UntilWithoutRetry(ctx, w, func(e watch.Event) (bool, error) { return e.Type == watch.Deleted, nil }); err != nil {
		t.Fatalf("the definition is not gone: %v", err)
	}
	// The API goes when the server's own watch has seen the same event, of which nobody is told.
	for ; ; time.Sleep(10 * time.Millisecond) {
		_, err := r.List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("listing resources of a definition that is gone: %v, want not found", err)
		}
	}
}
