package scheduletest

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// SetDevices takes in what a line says:
//
//	device NAME NODE                   which can be reached from that node alone
//	claim NAME [DEVICE NODE [POD,…]]   of one device of the class "any"; the one that it was given, where that is, and for whom
func SetDevices(t testing.TB, s *snapshot.Snapshot, line string) {
	t.Helper()
	words := strings.Fields(line)
	switch {
	case len(words) == 3 && words[0] == "device":
		s.SetDeviceClass(&resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "any"}})
		s.SetSlice(&resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: words[1]}, Spec: resourcev1.ResourceSliceSpec{
			Driver: "example.com", NodeName: &words[2], Pool: resourcev1.ResourcePool{Name: words[1], ResourceSliceCount: 1}, Devices: []resourcev1.Device{{Name: words[1]}},
		}})
	case len(words) >= 2 && words[0] == "claim":
		c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: words[1]}, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
			Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "any", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1}}},
		}}}
		if len(words) >= 4 {
			c.Status.Allocation = &resourcev1.AllocationResult{
				Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{{Request: "r", Driver: "example.com", Pool: words[2], Device: words[2]}}},
				NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
					{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{words[3]}},
				}}}},
			}
		}
		if len(words) == 5 {
			for name := range strings.SplitSeq(words[4], ",") {
				c.Status.ReservedFor = append(c.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: name, UID: types.UID("uid-" + name)})
			}
		}
		s.SetDeviceClaim(c)
	default:
		t.Fatalf("no such line of devices: %q", line)
	}
}

func usesDevices(_ testing.TB, p *corev1.Pod, claim string) {
	p.Spec.ResourceClaims = append(p.Spec.ResourceClaims, corev1.PodResourceClaim{Name: claim, ResourceClaimName: ptr.To(claim)})
}
