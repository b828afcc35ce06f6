package trust

import (
	"context"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// certificate stands for one: this package does not look into them.
func certificate(text string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(text)}))
}

func bundle(name, text string) *certificatesv1.ClusterTrustBundle {
	return &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: text}, Spec: certificatesv1.ClusterTrustBundleSpec{TrustBundle: certificate(text)}}
}

func named(name string) *v1.ClusterTrustBundleProjection {
	return &v1.ClusterTrustBundleProjection{Name: &name}
}

func TestBundlesAreWatchedFromTheFirstTimeTheyAreAskedFor(t *testing.T) {
	client := fake.NewClientset(bundle("a", "1"))
	watching := make(chan struct{})
	client.PrependWatchReactor("clustertrustbundles", func(a clienttesting.Action) (bool, watch.Interface, error) {
		w, err := client.Tracker().Watch(certificatesv1.SchemeGroupVersion.WithResource("clustertrustbundles"), "")
		close(watching)
		return true, w, err
	})
	changed := make(chan struct{}, 10)
	b := &Bundles{Informers: informers.NewSharedInformerFactory(client, 0), Until: t.Context(), Changed: func() { changed <- struct{}{} }}
	t.Cleanup(b.Informers.Shutdown)
	if len(client.Actions()) > 0 {
		t.Errorf("before anybody asks the API was asked %v", client.Actions())
	}
	got, err := b.TrustAnchors(t.Context(), named("a"))
	if err != nil || string(got) != certificate("1") {
		t.Fatalf("got %q, %v", got, err)
	}
	if len(changed) > 0 {
		t.Error("what was there from the start counts as a change")
	}
	<-watching
	bundles := client.CertificatesV1().ClusterTrustBundles()
	for _, step := range []struct {
		what string
		do   func() error
		want string // empty: none is left
	}{
		{"changed", func() error {
			_, err := bundles.Update(t.Context(), bundle("a", "2"), metav1.UpdateOptions{})
			return err
		}, certificate("2")},
		{"added", func() error {
			_, err := bundles.Create(t.Context(), bundle("b", "3"), metav1.CreateOptions{})
			return err
		}, certificate("2")},
		{"deleted", func() error { return bundles.Delete(t.Context(), "a", metav1.DeleteOptions{}) }, ""},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
		case <-time.After(30 * time.Second):
			t.Fatalf("a bundle was %s and nobody told", step.what)
		}
		got, err := b.TrustAnchors(t.Context(), named("a"))
		if string(got) != step.want || (step.want == "") != apierrors.IsNotFound(err) {
			t.Errorf("after one was %s: %q, %v", step.what, got, err)
		}
	}
}

func TestWithoutTheAPINoBundleIsMistakenForMissing(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("list", "clustertrustbundles", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	b := &Bundles{Informers: informers.NewSharedInformerFactory(client, 0), Until: t.Context(), Changed: func() {}}
	t.Cleanup(b.Informers.Shutdown)
	_, err := b.TrustAnchors(ended(t), named("a"))
	if err == nil || apierrors.IsNotFound(err) || !strings.Contains(err.Error(), "has not listed the ClusterTrustBundles yet") {
		t.Errorf("got %v", err)
	}
}

func FuzzMerge(f *testing.F) {
	f.Add(certificate("1")+certificate("2"), "text "+certificate("2"))
	f.Add("-----BEGIN CERTIFICATE-----\n", "")
	f.Fuzz(func(t *testing.T, one, two string) {
		a, b := &certificatesv1.ClusterTrustBundle{}, &certificatesv1.ClusterTrustBundle{}
		a.Spec.TrustBundle, b.Spec.TrustBundle = one, two
		merged := Merge([]*certificatesv1.ClusterTrustBundle{a, b})
		if other := Merge([]*certificatesv1.ClusterTrustBundle{b, a, a}); string(other) != string(merged) {
			t.Errorf("it depends on the order and number of the bundles:\n%q\n%q", merged, other)
		}
		seen, rest := map[string]bool{}, merged
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if seen[string(block.Bytes)] {
				t.Errorf("%q is there twice", block.Bytes)
			}
			seen[string(block.Bytes)] = true
		}
		if len(rest) > 0 {
			t.Errorf("there is more than certificates: %q", rest)
		}
	})
}

// ended is a context that has ended.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
