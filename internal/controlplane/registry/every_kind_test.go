package registry_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// notWritten are kinds that are served and are not in testdata/every_kind.yaml, with the reason.
var notWritten = map[string]string{
	"ComponentStatus": "only read", "Binding": "only posted", "TokenReview": "only posted", "SubjectAccessReview": "only posted",
	"LocalSubjectAccessReview": "only posted", "SelfSubjectAccessReview": "only posted", "SelfSubjectRulesReview": "only posted", "SelfSubjectReview": "only posted",
	"CertificateSigningRequest": "tested with certificates", "PodCertificateRequest": "needs a key",
	"CustomResourceDefinition": "another server's", "APIService": "another server's", "NodeMetrics": "only read", "PodMetrics": "only read",
}

// TestEveryKindIsWrittenReadChangedAndDeleted does to one object of each kind what clients do.
func TestEveryKindIsWrittenReadChangedAndDeleted(t *testing.T) {
	c := servertest.Start(t)
	client, err := dynamic.NewForConfig(c.System)
	if err != nil {
		t.Fatal(err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(c.System)
	if err != nil {
		t.Fatal(err)
	}
	served, err := restmapper.GetAPIGroupResources(d)
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDiscoveryRESTMapper(served)
	shop := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "shop"}}}
	apply(t, client, mapper, shop)
	account := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "default", "namespace": "shop"}}}
	apply(t, client, mapper, account)

	written := map[string]bool{}
	for _, obj := range everyKind(t, c.PKI.CAPEM()) {
		written[obj.GetKind()] = true
		t.Run(obj.GetKind(), func(t *testing.T) {
			r := apply(t, client, mapper, obj)
			name := obj.GetName()
			got, err := r.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got.GetUID() == "" || got.GetResourceVersion() == "" {
				t.Errorf("metadata is not filled in: %v", got.Object["metadata"])
			}
			if _, err := r.Create(t.Context(), obj, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
				t.Errorf("created twice: %v, want that it exists already", err)
			}
			patched, err := r.Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"labels":{"patched":"yes"}}}`), metav1.PatchOptions{FieldValidation: metav1.FieldValidationStrict})
			if err != nil {
				t.Fatalf("a label: %v", err)
			}
			generation := got.GetGeneration()
			if obj.GetKind() == "EndpointSlice" {
				generation++ // its labels count
			}
			if patched.GetLabels()["patched"] != "yes" || patched.GetGeneration() != generation {
				t.Errorf("a label was patched: labels %v, generation %d, want %d", patched.GetLabels(), patched.GetGeneration(), generation)
			}
			list, err := r.List(t.Context(), metav1.ListOptions{LabelSelector: "patched=yes", FieldSelector: "metadata.name=" + name})
			if err != nil || len(list.Items) != 1 {
				t.Errorf("listed by label and name: %d items, %v, want one", len(list.Items), err)
			}
			if _, err := r.Patch(t.Context(), name, types.MergePatchType, []byte(`{"nonsense":1}`), metav1.PatchOptions{FieldValidation: metav1.FieldValidationStrict}); !apierrors.IsInvalid(err) {
				t.Errorf("an unknown field: %s, want that the patch is invalid", apierrors.ReasonForError(err))
			}
			stale := patched.DeepCopy()
			stale.SetResourceVersion(got.GetResourceVersion())
			if _, err := r.Update(t.Context(), stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
				t.Errorf("replaced by an older read: %v, want a conflict", err)
			}
			wrong := types.UID("another")
			if err := r.Delete(t.Context(), name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}}); !apierrors.IsConflict(err) {
				t.Errorf("deleted by another UID: %v, want a conflict", err)
			}
			err = r.Delete(t.Context(), name, metav1.DeleteOptions{})
			if err != nil && !apierrors.IsConflict(err) {
				t.Errorf("deleted: %v", err)
			}
		})
	}
	for _, group := range served {
		for version, resources := range group.VersionedResources {
			for _, r := range resources {
				if !strings.Contains(r.Name, "/") && !written[r.Kind] && notWritten[r.Kind] == "" {
					t.Errorf("%s of %s/%s is served, and no object of it is in testdata/every_kind.yaml", r.Kind, group.Group.Name, version)
				}
			}
		}
	}
}

// apply creates obj and returns the client of its resource.
func apply(t *testing.T, client dynamic.Interface, mapper meta.RESTMapper, obj *unstructured.Unstructured) dynamic.ResourceInterface {
	t.Helper()
	gvk := obj.GroupVersionKind()
	mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		t.Fatalf("%s is not served: %v", gvk, err)
	}
	var r dynamic.ResourceInterface = client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		obj.SetNamespace("shop")
		r = client.Resource(mapping.Resource).Namespace("shop")
	}
	if _, err := r.Create(t.Context(), obj, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil {
		t.Fatal(err)
	}
	return r
}

func everyKind(t *testing.T, ca []byte) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile("testdata/every_kind.yaml")
	if err != nil {
		t.Fatal(err)
	}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	var out []*unstructured.Unstructured
	for {
		obj := &unstructured.Unstructured{}
		if err := decoder.Decode(&obj.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("object %d of testdata/every_kind.yaml: %v", len(out)+1, err)
		}
		out = append(out, obj)
	}
	return append(out, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle", "metadata": map[string]any{"name": "a"},
		"spec": map[string]any{"trustBundle": string(ca)},
	}})
}
