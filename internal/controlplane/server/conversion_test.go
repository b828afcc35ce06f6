package server_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

const gadgets = `
metadata: {name: gadgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget, listKind: GadgetList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
  - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

// converter renames the field size of v1 to length in v2, or hangs.
type converter struct {
	hangs   atomic.Bool
	release chan struct{}
}

func (c *converter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c.hangs.Load() {
		<-c.release
		return
	}
	var review apiextensionsv1.ConversionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for _, raw := range review.Request.Objects {
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal(raw.Raw, &u.Object); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		from, to := "size", "length"
		if strings.HasSuffix(review.Request.DesiredAPIVersion, "v1") {
			from, to = to, from
		}
		u.Object[to] = u.Object[from]
		delete(u.Object, from)
		u.SetAPIVersion(review.Request.DesiredAPIVersion)
		answer.ConvertedObjects = append(answer.ConvertedObjects, runtime.RawExtension{Object: u})
	}
	review.Request, review.Response = nil, answer
	_ = json.NewEncoder(w).Encode(review)
}

func TestAWebhookConvertsBetweenVersionsAndOneThatHangsHoldsUpOnlyItsOwnRequests(t *testing.T) {
	c := servertest.Start(t)
	hook := &converter{release: make(chan struct{})}
	https := httptest.NewTLSServer(hook)
	t.Cleanup(https.Close)
	t.Cleanup(func() { close(hook.release) })
	crd := define(t, c, gadgets)
	definitions := apiextensions.NewForConfigOrDie(c.System).ApiextensionsV1().CustomResourceDefinitions()
	crd, err := definitions.Get(t.Context(), crd.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	url := https.URL
	crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook: &apiextensionsv1.WebhookConversion{
			ConversionReviewVersions: []string{"v1"},
			ClientConfig: &apiextensionsv1.WebhookClientConfig{
				URL: &url, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: https.Certificate().Raw}),
			},
		},
	}
	if _, err := definitions.Update(t.Context(), crd, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	v1 := resources(t, c, schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "gadgets"})
	if _, err := v1.Create(t.Context(), object(t, "{apiVersion: example.com/v1, kind: Gadget, metadata: {name: a}, size: 4}"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	v2 := inDefault(t, c, schema.GroupVersionResource{Group: "example.com", Version: "v2", Resource: "gadgets"})
	// The handler of the new definition replaces the old one soon after the update, and nothing tells when.
	var got *unstructured.Unstructured
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if got, err = v2.Get(t.Context(), "a", metav1.GetOptions{}); err == nil && got.Object["length"] != nil {
			break
		}
	}
	if err != nil || got.Object["length"] != int64(4) || got.Object["size"] != nil {
		t.Fatalf("read as v2: %v, %v, want the length 4 and no size", got, err)
	}

	hook.hangs.Store(true)
	impatient := rest.CopyConfig(c.System)
	impatient.Timeout = 2 * time.Second
	begin := time.Now()
	_, err = inDefault(t, &servertest.Cluster{System: impatient}, schema.GroupVersionResource{Group: "example.com", Version: "v2", Resource: "gadgets"}).
		Get(t.Context(), "a", metav1.GetOptions{})
	if err == nil || time.Since(begin) > 10*time.Second {
		t.Errorf("with a webhook that hangs: %v after %s, want an error at the request's own timeout", err, time.Since(begin))
	}
	if _, err := v1.Get(t.Context(), "a", metav1.GetOptions{}); err != nil {
		t.Errorf("the stored version, which takes no webhook: %v", err)
	}
}
