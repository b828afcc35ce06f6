package pod

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// TestRoom plays the scripts in testdata/room: what a node has, two slashes, and what happens there, one line each. After each the waiting resizes are
// looked at.
//
//	admit NAME RESOURCE=AMOUNT… [priority=N]     a new Pod
//	resize NAME RESOURCE=AMOUNT… [priority=N]    one that is to have other resources
//	withdraw NAME, drop NAME
func TestRoom(t *testing.T) {
	datadriven.RunTest(t, "testdata/room", func(t *testing.T, d *datadriven.TestData) string {
		r := newRoom(amounts(t, strings.Fields(d.Input)[:slices.Index(strings.Fields(d.Input), "//")]))
		var b strings.Builder
		now := time.Unix(0, 0)
		_, script, _ := strings.Cut(d.Input, "//")
		for line := range strings.Lines(script) {
			f := strings.Fields(line)
			if len(f) == 0 {
				continue
			}
			now = now.Add(time.Second)
			pod := &v1.Pod{}
			pod.Name, pod.UID = f[1], types.UID(f[1])
			c := v1.Container{Name: "c", Resources: v1.ResourceRequirements{Requests: amounts(t, f[2:])}}
			if q, ok := c.Resources.Requests["priority"]; ok {
				n := int32(q.Value())
				pod.Spec.Priority = &n
				delete(c.Resources.Requests, "priority")
			}
			pod.Spec.Containers = []v1.Container{c}
			fmt.Fprintf(&b, "%s %s: ", f[0], f[1])
			switch f[0] {
			case "admit":
				if stop := r.admit(pod); stop != nil {
					fmt.Fprintf(&b, "%s, %s\n", stop.Reason, stop.Message)
				} else {
					b.WriteString("admitted\n")
				}
				continue
			case "resize":
				if refused := r.resize(pod, now); refused != nil {
					fmt.Fprintf(&b, "%s, %s\n", refused.Reason, refused.Message)
					continue
				}
				b.WriteString("given")
			case "withdraw":
				r.withdraw(pod.UID)
			case "drop":
				r.drop(pod.UID)
			default:
				d.Fatalf(t, "unknown command %q", f[0])
			}
			for _, p := range r.freed() {
				fmt.Fprintf(&b, ", now %s is given", p.Name)
			}
			b.WriteString("\n")
		}
		return b.String()
	})
}

func TestAPodDeletedByForceKeepsItsRoomUntilItHasEnded(t *testing.T) {
	s := NewSet(&Node{Allocatable: amounts(t, []string{"cpu=1", "pods=10"})})
	pod := func(name string) *v1.Pod {
		p := &v1.Pod{}
		p.Name, p.UID = name, types.UID(name)
		p.Spec.Containers = []v1.Container{{Name: "c", Resources: v1.ResourceRequirements{Requests: amounts(t, []string{"cpu=1"})}, Ports: []v1.ContainerPort{{HostPort: 80, ContainerPort: 80}}}}
		return p
	}
	fits := func(p *v1.Pod) bool { return s.room.lacks(p) == nil && s.ports.admit(p) == nil }
	for _, ended := range []bool{false, true} {
		old, next := pod(fmt.Sprintf("old-%t", ended)), pod("next")
		w := newWorker(s.node, old, func() { s.drop(old.UID) })
		s.workers[old.UID] = w
		s.room.hold(old)
		s.ports.hold(old, hostPorts(old))
		w.down.Store(ended) // what is left of it is its record
		s.Remove(old)
		if got := fits(next); got != ended {
			t.Errorf("the next Pod fits: %t, and the one before has ended: %t", got, ended)
		}
		w.done()
		s.release(next.UID)
		if !fits(next) {
			t.Error("nothing of the Pod is left, but its room is not back")
		}
		s.release(next.UID)
	}
}

func amounts(t *testing.T, words []string) v1.ResourceList {
	t.Helper()
	out := v1.ResourceList{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		q, err := resource.ParseQuantity(v)
		if err != nil {
			t.Fatalf("%s: %v", w, err)
		}
		out[v1.ResourceName(k)] = q
	}
	return out
}
