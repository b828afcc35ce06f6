package plugins

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// withDevices has the nodes n1, with the device d1, and n2, without any, and a class of all devices.
func withDevices() *snapshot.Snapshot {
	s := snapshot.New()
	for _, name := range []string{"n1", "n2"} {
		s.SetNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}})
	}
	s.SetDeviceClass(&resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "any"}})
	s.SetSlice(&resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "example.com", NodeName: ptr.To("n1"), Pool: resourcev1.ResourcePool{Name: "n1", ResourceSliceCount: 1}, Devices: []resourcev1.Device{{Name: "d1"}},
	}})
	return s
}

func claimOf(name, class string) *resourcev1.ResourceClaim {
	return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
		Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1}}},
	}}}
}

func userOf(claims ...string) *snapshot.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "p"}}
	for _, c := range claims {
		p.Spec.ResourceClaims = append(p.Spec.ResourceClaims, corev1.PodResourceClaim{Name: c, ResourceClaimName: ptr.To(c)})
	}
	return snapshot.NewPod(p)
}

func TestAPodGoesWhereItsDevicesAre(t *testing.T) {
	s := withDevices()
	s.SetDeviceClaim(claimOf("a", "any"))
	s.SetDeviceClaim(claimOf("b", "any"))
	n1, n2 := s.Node("n1"), s.Node("n2")
	c := DynamicResources{}.Prepare(userOf("a"), s)
	if !c.Passes(n1) || c.Passes(n2) || !slices.Equal(c.Explain(n2), []string{"cannot allocate all claims"}) {
		t.Errorf("n1 %t; n2 %t, %q", c.Passes(n1), c.Passes(n2), c.Explain(n2))
	}
	if _, ok := Grants(userOf("a", "b"), s, n1); ok {
		t.Error("two claims were given one device")
	}
	grants, ok := Grants(userOf("a"), s, n1)
	if !ok || len(grants) != 1 || grants[0].Allocation.Devices.Results[0].Device != "d1" {
		t.Fatalf("the grants are %+v", grants)
	}
	// From when it is chosen the device is nobody else's, and the claim's other users wait until the claim says so.
	s.Allocate("default/a", grants[0].Allocation)
	if _, ok := Grants(userOf("b"), s, n1); ok {
		t.Error("a device was given twice")
	}
	if r, ok := (DynamicResources{}).Prepare(userOf("a"), s).(*Refused); !ok || !strings.Contains(r.Reason, "another Pod") {
		t.Error("a claim that is being given devices is used by a second Pod")
	}
	given := claimOf("a", "any")
	given.Status.Allocation = grants[0].Allocation
	s.SetDeviceClaim(given)
	if grants, ok := Grants(userOf("a"), s, n1); !ok || len(grants) != 1 || grants[0].Allocation != nil {
		t.Errorf("of a claim that has its device the grants are %+v", grants)
	}
	if _, ok := Grants(userOf("a"), s, n2); ok {
		t.Error("a Pod may go where its device cannot be reached")
	}
	// Given back.
	s.SetDeviceClaim(claimOf("a", "any"))
	if _, ok := Grants(userOf("b"), s, n1); !ok {
		t.Error("a device that was given back is not free")
	}
}

func TestADeviceThatWasWrittenIsNobodyElsesAlthoughTheWatchIsLate(t *testing.T) {
	s := withDevices()
	before, b := claimOf("a", "any"), claimOf("b", "any")
	before.UID, before.ResourceVersion = "a", "1"
	s.SetDeviceClaim(before)
	s.SetDeviceClaim(b)
	n1 := s.Node("n1")
	grants, ok := Grants(userOf("a"), s, n1)
	if !ok {
		t.Fatal("a device that is free is not granted")
	}
	s.Allocate("default/a", grants[0].Allocation)
	written := before.DeepCopy()
	written.ResourceVersion, written.Status.Allocation = "3", grants[0].Allocation
	s.WroteDeviceClaim(written)
	s.Deallocate("default/a", grants[0].Allocation) // another claim of the Pod could not be written
	between := before.DeepCopy()
	between.ResourceVersion, between.Finalizers = "2", []string{resourcev1.Finalizer}
	s.SetDeviceClaim(between)
	if _, ok := Grants(userOf("b"), s, n1); ok {
		t.Error("a device was given twice")
	}
	// A relist shows that it was given back, and never that it had been given.
	after := before.DeepCopy()
	after.ResourceVersion = "4"
	s.SetDeviceClaim(after)
	if _, ok := Grants(userOf("b"), s, n1); !ok {
		t.Error("a device that was given back is not free")
	}
	// An answer that comes after the claim has gone brings nothing back.
	s.RemoveDeviceClaim("default/a")
	s.WroteDeviceClaim(written)
	if _, ok := Grants(userOf("b"), s, n1); !ok {
		t.Error("a claim that is gone keeps its device")
	}
}

func TestAPodWhoseClaimCannotBeUsedIsToldWhy(t *testing.T) {
	s := withDevices()
	gone := claimOf("gone", "any")
	gone.DeletionTimestamp = ptr.To(metav1.Now())
	s.SetDeviceClaim(gone)
	s.SetDeviceClaim(claimOf("odd", "none"))
	template := userOf("x")
	template.Object.Spec.ResourceClaims[0] = corev1.PodResourceClaim{Name: "x", ResourceClaimTemplateName: ptr.To("t")}
	for want, pod := range map[string]*snapshot.Pod{
		`resourceclaim "nowhere" not found`: userOf("nowhere"), `resourceclaim "gone" is being deleted`: userOf("gone"), "waiting for the ResourceClaim": template,
	} {
		if r, ok := (DynamicResources{}).Prepare(pod, s).(*Refused); !ok || !strings.Contains(r.Reason, want) {
			t.Errorf("want %q, got %+v", want, r)
		}
	}
	c := DynamicResources{}.Prepare(userOf("odd"), s)
	if r := c.Explain(s.Node("n1")); len(r) != 1 || !strings.Contains(r[0], `"none"`) {
		t.Errorf("a class that is not there: %q", r)
	}
}
