package registry_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
	"github.com/gitopsd/gitopsd/internal/network"
)

func TestANodeIsToldOfAllNodesOnlyWhatRoutesAreMadeFromAndOfItsOwnEverything(t *testing.T) {
	config := servertest.Start(t).System
	admin, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	as := rest.CopyConfig(config)
	as.Impersonate = rest.ImpersonationConfig{UserName: "system:node:a", Groups: []string{"system:nodes", "system:authenticated"}}
	node, err := kubernetes.NewForConfig(as)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for _, name := range []string{"a", "b"} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"rack": "1"}, Annotations: map[string]string{network.AnnWireGuardKey: "key of " + name, "other": "x"}}, Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse}},
		}}
		if _, err := admin.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}

	lists := map[string]metav1.ListOptions{"all": {}, "all, from the cache": {ResourceVersion: "0"}, "its own": {FieldSelector: "metadata.name=a"}, "by label": {LabelSelector: "rack=1"}}
	got := map[string]string{}
	for what, o := range lists {
		list, err := node.CoreV1().Nodes().List(ctx, o)
		for deadline := time.Now().Add(10 * time.Second); err == nil && o.ResourceVersion == "0" && len(list.Items) < 2 && time.Now().Before(deadline); {
			list, err = node.CoreV1().Nodes().List(ctx, o) // a cache may be late
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, n := range list.Items {
			got[what] += fmt.Sprintf("%s: %d addresses, %q, %d annotations, %d conditions; ", n.Name, len(n.Status.Addresses), n.Annotations[network.AnnWireGuardKey], len(n.Annotations), len(n.Status.Conditions))
		}
	}
	const narrow, whole = `a: 1 addresses, "key of a", 1 annotations, 0 conditions; b: 1 addresses, "key of b", 1 annotations, 0 conditions; `, `a: 1 addresses, "key of a", 2 annotations, 1 conditions; `
	if diff := cmp.Diff(map[string]string{"all": narrow, "all, from the cache": narrow, "its own": whole, "by label": whole + `b: 1 addresses, "key of b", 2 annotations, 1 conditions; `}, got); diff != "" {
		t.Errorf("lists (-want +got):\n%s", diff)
	}

	list, err := node.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := node.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Stop()
	own, err := node.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion, FieldSelector: "metadata.name=a"})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Stop()
	change := func(body string, sub ...string) {
		t.Helper()
		if _, err := admin.CoreV1().Nodes().Patch(ctx, "a", types.MergePatchType, []byte(body), metav1.PatchOptions{}, sub...); err != nil {
			t.Fatal(err)
		}
	}
	const beats = 5
	for i := range beats {
		change(fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":"True","lastHeartbeatTime":"2020-01-01T00:00:0%dZ"}]}}`, i), "status")
	}
	change(`{"metadata":{"annotations":{"gitopsd.io/wireguard-public-key":"another"}}}`)
	change(`{"spec":{"podCIDR":"10.64.1.0/24","podCIDRs":["10.64.1.0/24"]}}`)
	if err := admin.CoreV1().Nodes().Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// What came before the first change is not known to the cache that was filled a moment ago, so that one may be shown; the others change nothing.
	if seen := until(t, all, watch.Deleted); seen[watch.Modified] > 3 || seen["key"] == 0 {
		t.Errorf("a node that follows all Nodes was shown %d changes of another, %d of them of a new key, want 1 or more, and heartbeats", seen[watch.Modified], seen["key"])
	}
	if seen := until(t, own, watch.Deleted); seen[watch.Modified] != beats+2 {
		t.Errorf("a node that follows its own Node was shown %d changes of it, want %d", seen[watch.Modified], beats+2)
	}
}

// until counts the events of each type up to the first of the type last.
func until(t *testing.T, w watch.Interface, last watch.EventType) map[watch.EventType]int {
	t.Helper()
	seen := map[watch.EventType]int{}
	deadline := time.After(10 * time.Second)
	for {
		select {
		case e := <-w.ResultChan():
			if n, ok := e.Object.(*corev1.Node); ok && e.Type == watch.Modified && len(n.Spec.PodCIDRs) > 0 {
				seen["routes"]++
			} else if ok && e.Type == watch.Modified && n.Annotations[network.AnnWireGuardKey] == "another" {
				seen["key"]++
			}
			if seen[e.Type]++; e.Type == last {
				if seen["routes"] == 0 {
					t.Error("the Pod addresses of a node were not shown")
				}
				return seen
			}
		case <-deadline:
			t.Fatalf("no %s within 10 s, but %v", last, seen)
		}
	}
}
