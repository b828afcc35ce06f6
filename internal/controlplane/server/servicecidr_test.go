package server_test

import (
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func TestTheRangeOfClusterIPsIsAnObject(t *testing.T) {
	c := servertest.Start(t)
	client, err := kubernetes.NewForConfig(c.System)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got, err := client.NetworkingV1().ServiceCIDRs().Get(t.Context(), "kubernetes", metav1.GetOptions{})
		if err == nil && slices.Equal(got.Spec.CIDRs, []string{servertest.ServiceCIDR.String()}) && meta.IsStatusConditionTrue(got.Status.Conditions, "Ready") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 10 s: %v, %v", got, err)
		}
	}
}
