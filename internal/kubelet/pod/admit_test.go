package pod

import (
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func withPort(name string, p v1.ContainerPort) *v1.Pod {
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)},
		Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "c", Ports: []v1.ContainerPort{p}}}},
	}
}

func TestAHostPortHasOneHolderOnEachAddressAndProtocol(t *testing.T) {
	first := v1.ContainerPort{HostPort: 80, Protocol: v1.ProtocolTCP}
	onOne := v1.ContainerPort{HostPort: 80, HostIP: "10.0.0.1", Protocol: v1.ProtocolTCP}
	for _, c := range []struct {
		held, asked v1.ContainerPort
		turnedAway  bool
	}{
		{first, first, true},
		{first, onOne, true},
		{onOne, v1.ContainerPort{HostPort: 80, HostIP: "0.0.0.0"}, true},
		{onOne, v1.ContainerPort{HostPort: 80, HostIP: "10.0.0.2", Protocol: v1.ProtocolTCP}, false},
		{first, v1.ContainerPort{HostPort: 80, Protocol: v1.ProtocolUDP}, false},
		{first, v1.ContainerPort{HostPort: 81, Protocol: v1.ProtocolTCP}, false},
		{first, v1.ContainerPort{ContainerPort: 80}, false},
	} {
		h := holders{}
		if stop := h.admit(withPort("held", c.held)); stop != nil {
			t.Fatalf("the first is turned away: %+v", stop)
		}
		stop := h.admit(withPort("asked", c.asked))
		if (stop != nil) != c.turnedAway {
			t.Errorf("%+v beside %+v: %+v, want it turned away: %v", c.asked, c.held, stop, c.turnedAway)
		}
		if stop != nil {
			want := fmt.Sprintf("Pod was rejected: Predicate NodePorts failed: host port %d/TCP is taken by the Pod default/held", c.asked.HostPort)
			if stop.Reason != "NodePorts" || stop.Message != want {
				t.Errorf("%s: %s, want %s", stop.Reason, stop.Message, want)
			}
			delete(h, "uid-held")
			if stop := h.admit(withPort("later", c.asked)); stop != nil {
				t.Errorf("turned away though the port is free: %+v", stop)
			}
		}
	}
}

func TestSidecarsHoldTheirPortsAndInitContainersThatAreOverDoNot(t *testing.T) {
	p := withPort("p", v1.ContainerPort{})
	p.Spec.InitContainers = []v1.Container{
		{Name: "init", Ports: []v1.ContainerPort{{HostPort: 1}}},
		{Name: "sidecar", Ports: []v1.ContainerPort{{HostPort: 2}}, RestartPolicy: ptr.To(v1.ContainerRestartPolicyAlways)},
	}
	if got := hostPorts(p); len(got) != 1 || got[0].port != 2 {
		t.Errorf("it holds %+v, want port 2", got)
	}
}
