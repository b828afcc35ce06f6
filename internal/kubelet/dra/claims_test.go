package dra

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
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

// node is one with drivers, on which Pods each have a claim and a driver of their own name.
type node struct {
	*Claims
	drivers *Drivers
	dir     string
}

func newNode(t *testing.T) *node {
	t.Helper()
	drivers, dir := NewDrivers(fake.NewClientset(), "n", func() {}), t.TempDir()
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
	return &node{claims, drivers, dir}
}

func (n *node) pod(name string) string { return filepath.Join(n.dir, name) }

func (n *node) prepare(ctx context.Context, name string) error {
	if err := os.MkdirAll(n.pod(name), 0o755); err != nil {
		return err
	}
	_, err := n.Prepare(ctx, &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       v1.PodSpec{ResourceClaims: []v1.PodResourceClaim{{Name: "c", ResourceClaimName: &name}}},
	}, n.pod(name), "sandbox")
	return err
}

func TestADriverThatHangsKeepsNobodyElseWaiting(t *testing.T) {
	n := newNode(t)
	hangs := &program{asked: make(chan struct{})}
	hangs.serve(t, n.drivers, "hangs")
	(&program{}).serve(t, n.drivers, "works")
	hanging, end := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- n.prepare(hanging, "hangs") }()
	<-hangs.asked
	second := make(chan error, 1)
	go func() { second <- n.prepare(t.Context(), "works") }()
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
	if len(n.turns.of) != 0 {
		t.Errorf("%d turns are left", len(n.turns.of))
	}
}

func TestAPodWhoseDriverNeverCameGoesWithoutIt(t *testing.T) {
	n := newNode(t)
	if err := n.prepare(t.Context(), "none"); err == nil || !strings.Contains(err.Error(), "none has not registered") {
		t.Errorf("it says %v", err)
	}
	if err := n.Unprepare(t.Context(), &v1.Pod{}, n.pod("none")); err != nil {
		t.Error(err)
	}
	(&program{}).serve(t, n.drivers, "comes")
	if err := n.prepare(t.Context(), "comes"); err != nil {
		t.Error(err)
	}
	if err := n.Unprepare(t.Context(), &v1.Pod{}, n.pod("comes")); err == nil {
		t.Error("a driver that does not unprepare has done so")
	}
}

func TestWhatAnotherPodMayUseIsNotGivenBackWhileItsRecordCannotBeRead(t *testing.T) {
	n := newNode(t)
	(&program{}).serve(t, n.drivers, "works")
	if err := n.prepare(t.Context(), "works"); err != nil {
		t.Fatal(err)
	}
	other := n.pod("other")
	if err := os.MkdirAll(other, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, recordFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	claims, err := Open(n.drivers, n.dir, n.get)
	if err != nil {
		t.Fatal(err)
	}
	if err := claims.Unprepare(t.Context(), &v1.Pod{}, n.pod("works")); err == nil || !strings.Contains(err.Error(), filepath.Join(other, recordFile)) {
		t.Errorf("it says %v", err)
	}
	// A Pod of which nobody knows anything any more has no claims.
	if err := claims.Unprepare(t.Context(), &v1.Pod{}, other); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(other, recordFile)); !os.IsNotExist(err) {
		t.Errorf("its record is there: %v", err)
	}
	if err := claims.Unprepare(t.Context(), &v1.Pod{}, n.pod("works")); err == nil || !strings.Contains(err.Error(), "works") || strings.Contains(err.Error(), "other") {
		t.Errorf("then it says %v", err) // this driver cannot give back
	}
}
