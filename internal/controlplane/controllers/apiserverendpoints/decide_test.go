package apiserverendpoints

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var desired = Desired{
	ClusterIP: netip.MustParseAddr("10.43.0.1"),
	Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.1")},
	Port:      6443,
}

func TestBothObjectsAreMadeAndThenLeftAlone(t *testing.T) {
	a := Decide(desired, Observed{})
	if a.CreateService == nil || a.CreateSlice == nil {
		t.Fatalf("in an empty cluster: %+v", a)
	}
	if diff := cmp.Diff("192.0.2.1", a.CreateSlice.Endpoints[0].Addresses[0]); diff != "" {
		t.Errorf("addresses are in no fixed order (-want +got):\n%s", diff)
	}
	again := Decide(desired, Observed{Service: a.CreateService, Slice: a.CreateSlice})
	if diff := cmp.Diff(Actions{}, again); diff != "" {
		t.Errorf("what is right is written again (-want +got):\n%s", diff)
	}
}

func TestAnotherAddressIsWrittenIntoTheSliceThatIsThere(t *testing.T) {
	a := Decide(desired, Observed{})
	moved := desired
	moved.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.9")}
	a.CreateSlice.UID = "kept"
	again := Decide(moved, Observed{Service: a.CreateService, Slice: a.CreateSlice})
	if again.UpdateSlice == nil || again.UpdateSlice.UID != "kept" || again.UpdateSlice.Endpoints[0].Addresses[0] != "192.0.2.9" {
		t.Errorf("got %+v", again)
	}
}

func TestASelectorThatSomebodyPutOnTheServiceIsRemoved(t *testing.T) {
	a := Decide(desired, Observed{})
	svc := a.CreateService.DeepCopy()
	svc.Spec.Selector = map[string]string{"app": "mallory"}
	again := Decide(desired, Observed{Service: svc, Slice: a.CreateSlice})
	if again.UpdateService == nil || again.UpdateService.Spec.Selector != nil {
		t.Errorf("the API's own traffic would go elsewhere: %+v", again.UpdateService)
	}
}
