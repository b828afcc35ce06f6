package dra

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	api "k8s.io/kubelet/pkg/apis/dra/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/plugins"
)

// program is a driver. One that hangs tells when it is asked, and never answers.
type program struct {
	api.UnimplementedDRAPluginServer
	asked chan struct{}
}

func (p *program) NodePrepareResources(ctx context.Context, req *api.NodePrepareResourcesRequest) (*api.NodePrepareResourcesResponse, error) {
	if p.asked != nil {
		close(p.asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	out := &api.NodePrepareResourcesResponse{Claims: map[string]*api.NodePrepareResourceResponse{}}
	for _, c := range req.Claims {
		out.Claims[c.Uid] = &api.NodePrepareResourceResponse{}
	}
	return out, nil
}

func (p *program) serve(t *testing.T, drivers *Drivers, name string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	api.RegisterDRAPluginServer(s, p)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	if err := drivers.Add(t.Context(), plugins.Plugin{Name: name, Endpoint: path, Versions: []string{api.DRAPluginService}}); err != nil {
		t.Fatal(err)
	}
}

func TestADriverThatHangsKeepsNobodyElseWaiting(t *testing.T) {
	drivers := NewDrivers(fake.NewClientset(), "n")
	hangs := &program{asked: make(chan struct{})}
	hangs.serve(t, drivers, "hangs")
	(&program{}).serve(t, drivers, "works")
	dir := t.TempDir()
	claims, err := Open(drivers, dir, func(_ context.Context, namespace, name string) (*resourcev1.ResourceClaim, error) {
		return &resourcev1.ResourceClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name)},
			Status: resourcev1.ResourceClaimStatus{
				Allocation:  &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{{Driver: name}}}},
				ReservedFor: []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: name, UID: types.UID(name)}},
			},
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	prepare := func(ctx context.Context, name string) error {
		own := filepath.Join(dir, name)
		if err := os.Mkdir(own, 0o755); err != nil {
			return err
		}
		_, err := claims.Prepare(ctx, &v1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
			Spec:       v1.PodSpec{ResourceClaims: []v1.PodResourceClaim{{Name: "c", ResourceClaimName: &name}}},
		}, own, "sandbox")
		return err
	}
	hanging, end := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- prepare(hanging, "hangs") }()
	<-hangs.asked
	second := make(chan error, 1)
	go func() { second <- prepare(t.Context(), "works") }()
	select {
	case err := <-second:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a Pod waits for another one's driver")
	}
	end()
	if err := <-first; err == nil {
		t.Error("a driver that never answered has made the claim ready")
	}
	if len(claims.turns.of) != 0 {
		t.Errorf("%d turns are left", len(claims.turns.of))
	}
}
