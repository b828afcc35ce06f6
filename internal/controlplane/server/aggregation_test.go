package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	watchtools "k8s.io/client-go/tools/watch"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// apiService waits until the APIService is as wanted.
func apiService(t *testing.T, c *servertest.Cluster, name string, wanted func(*apiregistrationv1.APIService) bool) {
	t.Helper()
	client, err := aggregator.NewForConfig(c.System)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w, err := byName(name, client.ApiregistrationV1().APIServices().Watch).WatchWithContext(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if _, err := watchtools.UntilWithoutRetry(ctx, w, func(e watch.Event) (bool, error) {
		s, ok := e.Object.(*apiregistrationv1.APIService)
		return ok && wanted(s), nil
	}); err != nil {
		t.Fatalf("APIService %s: %v", name, err)
	}
}

func available(status apiregistrationv1.ConditionStatus) func(*apiregistrationv1.APIService) bool {
	return func(s *apiregistrationv1.APIService) bool {
		for _, c := range s.Status.Conditions {
			if c.Type == apiregistrationv1.Available {
				return c.Status == status
			}
		}
		return false
	}
}

func TestEveryLocalGroupHasAnAPIServiceThatIsAvailable(t *testing.T) {
	c := servertest.Start(t)
	for _, name := range []string{"v1.", "v1.apps", "v1alpha1.gitopsd.io", "v1.apiextensions.k8s.io"} {
		apiService(t, c, name, available(apiregistrationv1.ConditionTrue))
	}
	define(t, c, widgets)
	apiService(t, c, "v1.example.com", available(apiregistrationv1.ConditionTrue))
	d, err := discovery.NewDiscoveryClientForConfig(c.System)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing tells when discovery has heard of a definition, which it does soon after the definition is established.
	var missing []string
	err = wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
		groups, lists, err := d.ServerGroupsAndResources()
		if err != nil {
			return false, err
		}
		if groups[0].Name != "" {
			return false, fmt.Errorf("the first group is %s, want the core group", groups[0].Name)
		}
		missing = undiscovered(lists, "v1 pods", "v1 pods/proxy", "apps/v1 deployments", "metrics.k8s.io/v1beta1 nodes", "apiregistration.k8s.io/v1 apiservices",
			"example.com/v1 widgets")
		return len(missing) == 0, nil
	})
	if err != nil {
		t.Errorf("discovery does not know %v: %v", missing, err)
	}
}

// undiscovered are those of the resources, as "group/version name", that no list has.
func undiscovered(lists []*metav1.APIResourceList, resources ...string) []string {
	return slices.DeleteFunc(resources, func(want string) bool {
		return slices.ContainsFunc(lists, func(l *metav1.APIResourceList) bool {
			return slices.ContainsFunc(l.APIResources, func(r metav1.APIResource) bool { return l.GroupVersion+" "+r.Name == want })
		})
	})
}

func TestAnAPIServiceWithoutAnythingBehindItAnswersThatItIsUnavailable(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	namespace(t, k, "flunders")
	client, err := aggregator.NewForConfig(c.System)
	if err != nil {
		t.Fatal(err)
	}
	port := int32(443)
	if _, err := client.ApiregistrationV1().APIServices().Create(t.Context(), &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1alpha1.wardle.example.com"},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: "wardle.example.com", Version: "v1alpha1", InsecureSkipTLSVerify: true, GroupPriorityMinimum: 2000, VersionPriority: 200,
			Service: &apiregistrationv1.ServiceReference{Namespace: "flunders", Name: "sample-api", Port: &port},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	apiService(t, c, "v1alpha1.wardle.example.com", func(s *apiregistrationv1.APIService) bool {
		for _, cond := range s.Status.Conditions {
			if cond.Type == apiregistrationv1.Available && cond.Reason == "ServiceNotFound" {
				return strings.Contains(cond.Message, `service/sample-api in "flunders" is not present`)
			}
		}
		return false
	})
	gvr := schema.GroupVersionResource{Group: "wardle.example.com", Version: "v1alpha1", Resource: "flunders"}
	_, err = resources(t, c, gvr).List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a list of what nobody serves: %v, want that the service is unavailable", err)
	}
	// The rest of the API must not suffer.
	if _, err := k.CoreV1().Pods("flunders").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("a list of Pods beside it: %v", err)
	}
}

func TestAPIServersInPodsLearnWhomToBelieve(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	read := func() *corev1.ConfigMap {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		w, err := byName("extension-apiserver-authentication", k.CoreV1().ConfigMaps("kube-system").Watch).WatchWithContext(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		e, err := watchtools.UntilWithoutRetry(ctx, w, func(e watch.Event) (bool, error) {
			m, ok := e.Object.(*corev1.ConfigMap)
			return ok && e.Type != watch.Deleted && m.Data["requestheader-allowed-names"] == `["front-proxy-client"]`, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return e.Object.(*corev1.ConfigMap)
	}
	m := read()
	if m.Data["client-ca-file"] != string(c.PKI.CAPEM()) || m.Data["requestheader-client-ca-file"] == m.Data["client-ca-file"] {
		t.Errorf("got %v, want the cluster's authority, and another one for the front proxy", m.Data)
	}
	m.Data = map[string]string{"client-ca-file": "forged"}
	if _, err := k.CoreV1().ConfigMaps("kube-system").Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if again := read(); again.Data["client-ca-file"] != string(c.PKI.CAPEM()) {
		t.Errorf("a change was not set back: %v", again.Data)
	}
}
