package server_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func TestTheRangeOfClusterIPsIsAnObject(t *testing.T) {
	c := servertest.Start(t)
	client, err := kubernetes.NewForConfig(c.System)
	if err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		got, err := client.NetworkingV1().ServiceCIDRs().Get(ctx, "kubernetes", metav1.GetOptions{})
		return err == nil && slices.Equal(got.Spec.CIDRs, []string{servertest.ServiceCIDR.String()}) && meta.IsStatusConditionTrue(got.Status.Conditions, "Ready"), nil
	})
	if err != nil {
		t.Fatalf("no ServiceCIDR kubernetes with the server's range that is Ready: %v", err)
	}
}
