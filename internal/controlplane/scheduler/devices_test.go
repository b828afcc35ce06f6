package scheduler_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
)

// device publishes one device of a node, and a class of all devices.
func device(t testing.TB, e *controllerstest.Env, name, node string) {
	t.Helper()
	if _, err := e.Client.ResourceV1().DeviceClasses().Create(e.Ctx, &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "any"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client.ResourceV1().ResourceSlices().Create(e.Ctx, &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "example.com", NodeName: &node, Pool: resourcev1.ResourcePool{Name: node, ResourceSliceCount: 1}, Devices: []resourcev1.Device{{Name: name}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func deviceClaim(t testing.TB, e *controllerstest.Env, name string) *resourcev1.ResourceClaim {
	t.Helper()
	c, err := e.Client.ResourceV1().ResourceClaims("default").Create(e.Ctx, &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
		Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "any", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1}}},
	}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func getDeviceClaim(t testing.TB, e *controllerstest.Env, name string) *resourcev1.ResourceClaim {
	t.Helper()
	c, err := e.Client.ResourceV1().ResourceClaims("default").Get(e.Ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func usesDevices(claim string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "device", ResourceClaimName: &claim}}
	}
}

func TestAPodWhoseDeviceIsOnANodeThatIsGoneGetsAnother(t *testing.T) {
	e := controllerstest.New(t)
	e.Node(t, "n1", "1", "1Gi")
	device(t, e, "d1", "n1")
	c := deviceClaim(t, e, "c")
	create(t, e, "web", "100m", usesDevices("c"), func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/later"}} })
	// So it is when a scheduler ends after it has written the devices, and the node goes before the next one begins.
	pod := get(t, e, "web")
	c.Status = resourcev1.ResourceClaimStatus{
		Allocation: &resourcev1.AllocationResult{
			Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{{Request: "r", Driver: "example.com", Pool: "gone", Device: "d0"}}},
			NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
				{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{"gone"}},
			}}}},
		},
		ReservedFor: []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: pod.Name, UID: pod.UID}},
	}
	if _, err := e.Client.ResourceV1().ResourceClaims("default").UpdateStatus(e.Ctx, c, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod.Spec.SchedulingGates = nil
	if _, err := e.Client.CoreV1().Pods("default").Update(e.Ctx, pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	controllerstest.Eventually(t, "the Pod is bound", func() bool { return get(t, e, "web").Spec.NodeName == "n1" })
	c = getDeviceClaim(t, e, "c")
	if a := c.Status.Allocation; a == nil || a.Devices.Results[0].Device != "d1" || !resourceclaim.IsReservedForPod(pod, c, false) {
		t.Errorf("the claim says %+v", c.Status)
	}
}

// refusingOnce refuses the first write of a path, once it is told to.
type refusingOnce struct {
	http.RoundTripper
	path         string
	asked, reply chan struct{}
	did          *atomic.Bool
}

func (r refusingOnce) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPut || !strings.HasSuffix(req.URL.Path, r.path) || r.did.Swap(true) {
		return r.RoundTripper.RoundTrip(req)
	}
	close(r.asked)
	<-r.reply
	return &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("not now")), Request: req}, nil
}

func TestAPodWhoseVolumeIsBoundWhileItsDeviceIsRefusedIsNotBoundWithoutTheDevice(t *testing.T) {
	e := controllerstest.New(t)
	e.Node(t, "n1", "1", "1Gi")
	device(t, e, "d1", "n1")
	deviceClaim(t, e, "c")
	storageClass(t, e, "local", "kubernetes.io/no-provisioner")
	persistentVolume(t, e, "pv", "local", "n1")
	claim(t, e, "data", "local")

	refusing := refusingOnce{path: "/resourceclaims/c/status", asked: make(chan struct{}), reply: make(chan struct{}), did: &atomic.Bool{}}
	config := rest.CopyConfig(e.Cluster.System)
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper {
		r := refusing
		r.RoundTripper = rt
		return r
	})
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	claims := e.Factory.Core().V1().PersistentVolumeClaims().Lister()
	s := scheduler.New(client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	create(t, e, "web", "100m", usesDevices("c"), mounts("data"))
	<-refusing.asked
	bindClaim(t, e, "data", "pv")
	controllerstest.Eventually(t, "it is seen that the volume is bound", func() bool {
		c, err := claims.PersistentVolumeClaims("default").Get("data")
		return err == nil && plugins.Bound(c)
	})
	close(refusing.reply)
	controllerstest.Eventually(t, "the Pod is bound", func() bool { return get(t, e, "web").Spec.NodeName == "n1" })
	if c := getDeviceClaim(t, e, "c"); !resourceclaim.IsReservedForPod(get(t, e, "web"), c, false) {
		t.Errorf("the Pod is bound, and its claim says %+v", c.Status)
	}
}
