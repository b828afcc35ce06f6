package register

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/network"
)

// node is one whose Node can be read.
func node(t *testing.T) (*Node, *fake.Clientset, func() *v1.Node) {
	client := fake.NewClientset()
	get := func() *v1.Node {
		n, err := client.CoreV1().Nodes().Get(t.Context(), "w1", metav1.GetOptions{})
		if err != nil {
			return nil
		}
		return n
	}
	return &Node{
		Client: client, Name: "w1", DataDir: t.TempDir(), Stored: get,
		PodCIDRs:    func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.42.3.0/24")} },
		Observe:     func() Observed { return Observed{} },
		Allocatable: func(capacity v1.ResourceList) v1.ResourceList { return capacity },
		Containerd:  func() string { return "" },
		Images:      func() []*image.Image { return nil },
		InUse:       func() []v1.UniqueVolumeName { return nil },
		Reported:    func([]v1.UniqueVolumeName, string) {},
	}, client, get
}

func TestVolumesInUseAreReportedWhenTheyBeginAndWhenTheyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _, get := node(t)
		var use, told []v1.UniqueVolumeName
		changed := make(chan struct{})
		n.InUse, n.Changed = func() []v1.UniqueVolumeName { return use }, changed
		n.Reported = func(names []v1.UniqueVolumeName, _ string) { told = names }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); n.Run(ctx, func(*v1.Node) {}) }()
		for _, want := range [][]v1.UniqueVolumeName{{"a"}, {"a", "b"}, {"b"}, nil, {"c"}} {
			synctest.Wait()
			use = want
			changed <- struct{}{}
			synctest.Wait()
			if got := get().Status.VolumesInUse; !slices.Equal(got, want) || !slices.Equal(told, want) {
				t.Errorf("in use are %v; the Node says %v, and %v was told", want, got, told)
			}
		}
		cancel()
		<-done
	})
}

func TestANodeThatWasHeldForLostReportsReadyAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, client, get := node(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); n.Run(ctx, func(*v1.Node) {}) }()
		synctest.Wait()

		lost := get()
		for i := range lost.Status.Conditions {
			lost.Status.Conditions[i].Status = v1.ConditionUnknown
		}
		lost.Status.Conditions = append(lost.Status.Conditions, v1.NodeCondition{Type: v1.NodeNetworkUnavailable, Status: v1.ConditionFalse})
		if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, lost, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkEvery + time.Second)
		synctest.Wait()
		for _, c := range get().Status.Conditions {
			if c.Status == v1.ConditionUnknown {
				t.Errorf("condition %s is still Unknown", c.Type)
			}
		}
		patches := len(client.Actions())
		time.Sleep(3 * checkEvery)
		synctest.Wait()
		for _, a := range client.Actions()[patches:] {
			if a.GetVerb() != "get" {
				t.Errorf("%s of %s, though nothing changed", a.GetVerb(), a.GetResource().Resource)
			}
		}
		cancel()
		<-done
	})
}

func TestANodeThatWasDeletedIsMadeAnewAtOnceWithWhatItsPodsHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, client, get := node(t)
		changed := make(chan struct{})
		n.Changed = changed
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); n.Run(ctx, func(*v1.Node) {}) }()
		synctest.Wait()
		changed <- struct{}{}
		synctest.Wait()
		if err := client.CoreV1().Nodes().Delete(ctx, "w1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		changed <- struct{}{} // as the daemon has it looked at when the Node goes
		synctest.Wait()
		if made := get(); made == nil {
			t.Error("there is no Node")
		} else if got := made.Annotations[network.AnnPodCIDRs]; got != "10.42.3.0/24" {
			t.Errorf("it says that Pods have addresses of %q", got)
		}
		cancel()
		<-done
	})
}
