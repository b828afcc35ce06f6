package core

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/scheduletest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// TestSchedule plays scripts on one cluster:
//
//	cluster            the lines below are its nodes: "n1 cpu=4 memory=8Gi gpu=1 zone=a labels=k:v taint=K~V:E cordoned image=I@SIZE"
//	namespaces         the lines below are Namespaces with labels: "dev team:a"
//	budgets            the lines below are PodDisruptionBudgets: "NAME k:v ALLOWED"
//	storage            the lines below are claims, volumes, classes and drivers, as in scheduletest
//	devices            the lines below are devices and claims of them, as in scheduletest
//	running            the lines below are Pods that run there, as in scheduletest
//	schedule           each line below is a Pod; it is placed where the scheduler says, or room is made for it
//	explain            the same, with each node's reasons and remedies
//	gang [turn]        the lines below are the waiting Pods of one gang, decided together; if it is its turn, room is kept for them
//	remove             Pods that end
//	lost               nodes that go
func TestSchedule(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var s *snapshot.Snapshot
		var c *Scheduler
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "cluster":
				s, c = snapshot.New(), New(DefaultProfile())
				for line := range strings.Lines(d.Input) {
					s.SetNode(scheduletest.Node(t, line))
				}
				return ""
			case "namespaces":
				for line := range strings.Lines(d.Input) {
					name, labels, _ := strings.Cut(strings.TrimSpace(line), " ")
					s.SetNamespace(name, podtest.Labels(labels))
				}
				return ""
			case "budgets":
				for line := range strings.Lines(d.Input) {
					s.SetBudget(scheduletest.Budget(t, line))
				}
				return ""
			case "storage":
				for line := range strings.Lines(d.Input) {
					scheduletest.SetStorage(t, s, line)
				}
				return ""
			case "devices":
				for line := range strings.Lines(d.Input) {
					scheduletest.SetDevices(t, s, line)
				}
				return ""
			case "running":
				for _, p := range scheduletest.Pods(t, d.Input) {
					s.Place(snapshot.NewPod(p), p.Spec.NodeName)
				}
				return ""
			case "lost":
				for _, name := range strings.Fields(d.Input) {
					s.RemoveNode(name)
				}
				return ""
			case "remove":
				for _, name := range strings.Fields(d.Input) {
					s.Remove(types.UID("uid-" + name))
				}
				return ""
			case "schedule", "explain":
				var b strings.Builder
				for _, p := range scheduletest.Pods(t, d.Input) {
					pod := snapshot.NewPod(p)
					act(&b, c, s, pod, c.Decide(pod, s), d.Cmd == "explain")
				}
				return b.String()
			case "gang":
				var b strings.Builder
				var pods []*snapshot.Pod
				for _, p := range scheduletest.Pods(t, d.Input) {
					pods = append(pods, snapshot.NewPod(p))
				}
				g := pods[0].Gang
				have := s.GangPlaced(g.Key)
				var keep []string
				if d.HasArg("turn") {
					if keep = c.PlanGang(pods, have, g.Minimum, s); keep == nil {
						b.WriteString("waiting is of no use\n")
					}
				}
				for i, r := range c.DecideGang(pods, have, g.Minimum, keep, s) {
					act(&b, c, s, pods[i], r, false)
				}
				return b.String()
			}
			t.Fatalf("no such command: %s", d.Cmd)
			return ""
		})
	})
}

// act does with a Pod what the loop around the scheduler does, and writes it down.
func act(b *strings.Builder, c *Scheduler, s *snapshot.Snapshot, pod *snapshot.Pod, r Decision, explain bool) {
	p := pod.Object
	switch {
	case r.Promised != "":
		fmt.Fprintf(b, "%s: promised %s: %s\n", p.Name, r.Promised, r.Message())
		s.Nominate(pod, r.Promised)
		return
	case r.Node != "":
		fmt.Fprintf(b, "%s: %s", p.Name, r.Node)
		plan, _ := plugins.Volumes(pod, s, s.Node(r.Node))
		for _, m := range plan.Static {
			fmt.Fprintf(b, ", claims volume %s for %s", m.Volume.Name, m.Claim.Name)
			s.TakeVolume(m.Volume.Name, m.Claim.Namespace+"/"+m.Claim.Name)
		}
		for _, claim := range plan.Provision {
			fmt.Fprintf(b, ", has a volume made for %s", claim.Name)
		}
		grants, _ := plugins.Grants(pod, s, s.Node(r.Node))
		var devices, claims []string
		for _, g := range grants {
			claim := g.Claim.DeepCopy()
			if g.Allocation != nil {
				devices, claims = append(devices, g.Allocation.Devices.Results[0].Device), append(claims, claim.Name)
				claim.Status.Allocation = g.Allocation
			}
			claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: p.Name, UID: p.UID})
			s.SetDeviceClaim(claim)
		}
		if len(devices) > 0 {
			// Of devices that serve as well, the allocator gives any to any claim.
			slices.Sort(devices)
			fmt.Fprintf(b, ", gets %s for %s", strings.Join(devices, " and "), strings.Join(claims, " and "))
		}
		b.WriteString("\n")
		s.Assume(pod, r.Node)
		return
	case r.Awaits:
		fmt.Fprintf(b, "%s: waits for room on %s\n", p.Name, s.NominatedNode(p.UID))
		return
	case r.Preempts != nil:
		fmt.Fprintf(b, "%s: makes room on %s:", p.Name, r.Preempts.Node)
		for _, v := range r.Preempts.Victims {
			fmt.Fprintf(b, " %s", v.Object.Name)
			s.Evict(v.Object.UID)
		}
		if r.Preempts.Violations > 0 {
			fmt.Fprintf(b, " (%d against a budget)", r.Preempts.Violations)
		}
		b.WriteString("\n")
		s.Nominate(pod, r.Preempts.Node)
		return
	}
	fmt.Fprintf(b, "%s: %s\n", p.Name, r.Message())
	for _, claim := range r.Frees {
		fmt.Fprintf(b, "  gives back the devices of %s\n", claim.Name)
		freed := claim.DeepCopy()
		freed.Status = resourcev1.ResourceClaimStatus{}
		s.SetDeviceClaim(freed)
	}
	if explain {
		for _, v := range c.Verdicts(pod, s) {
			for _, f := range v.Failures {
				fmt.Fprintf(b, "  %s: %s: %s\n", v.Node, f.Filter, strings.Join(f.Reasons, ", "))
				for _, line := range f.Remedies {
					fmt.Fprintf(b, "    %s\n", line)
				}
			}
		}
	}
}

func TestAPodThatWaitsIsHelpedOnlyByWhatChangesTheAnswer(t *testing.T) {
	pod := snapshot.NewPod(podtest.Line(t, "web cpu=500m"))
	added := func(line string) *snapshot.Node { return snapshot.New().SetNode(scheduletest.Node(t, line)) }

	s, c := snapshot.New(), New(DefaultProfile())
	full := s.SetNode(scheduletest.Node(t, "full cpu=1"))
	s.Place(snapshot.NewPod(podtest.Line(t, "hog node=full cpu=1")), "full")
	r := c.Schedule(pod, s)
	if r.Node != "" {
		t.Fatalf("placed on %s", r.Node)
	}
	check := func(what string, e plugins.Event, want bool) {
		t.Helper()
		if got := c.Helped(pod, r.Filters, e); got != want {
			t.Errorf("%s: helped is %v, want %v", what, got, want)
		}
	}
	check("a node too small", plugins.Event{Change: plugins.Added, Node: added("new cpu=100m")}, false)
	check("a node large enough", plugins.Event{Change: plugins.Added, Node: added("new cpu=8")}, true)
	check("new labels", plugins.Event{Change: plugins.Labels, Node: full}, false)
	check("a taint gone", plugins.Event{Change: plugins.Taints, Node: full}, false)
	check("a Pod gone from a node that is still full", plugins.Event{Change: plugins.PodGone, Node: full, Pod: pod}, false)
	check("a Pod placed", plugins.Event{Change: plugins.PodPlaced, Node: full, Pod: pod}, false)
	s.Remove("uid-hog")
	check("a Pod gone that made room", plugins.Event{Change: plugins.PodGone, Node: full, Pod: pod}, true)

	s = snapshot.New()
	tainted := s.SetNode(scheduletest.Node(t, "tainted taint=dedicated~db:NoSchedule"))
	r = c.Schedule(pod, s)
	check("another taint", plugins.Event{Change: plugins.Taints, Node: tainted}, false)
	check("no taint any more", plugins.Event{Change: plugins.Taints, Node: added("tainted")}, true)
	check("more room on a node that is tainted", plugins.Event{Change: plugins.Allocatable, Node: tainted}, false)

	r = c.Schedule(pod, snapshot.New())
	check("the first node of all", plugins.Event{Change: plugins.Added, Node: tainted}, true)
}

// A hint that says no where the answer has changed would leave a Pod waiting for ever.
func TestNoChangeThatMakesAPodFitIsMissedByTheHints(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	for range 10000 {
		s, c := snapshot.New(), New(DefaultProfile())
		nodes := 1 + r.IntN(3)
		for i := range nodes {
			s.SetNode(randomNode(t, r, i))
		}
		for i := range r.IntN(6) {
			p := randomPod(t, r, fmt.Sprintf("p%d", i))
			s.Place(snapshot.NewPod(p), fmt.Sprintf("n%d", r.IntN(nodes)))
		}
		pod := snapshot.NewPod(randomPod(t, r, "waits"))
		before := c.Schedule(pod, s)
		if before.Node != "" {
			continue
		}
		e := randomEvent(t, r, s, nodes)
		after := c.Schedule(pod, s)
		if after.Node != "" && !c.Helped(pod, before.Filters, e) {
			t.Fatalf("the Pod fits %s after the event %b on %v, and no filter of %q was helped by it", after.Node, e.Change, e.Node, before.Message())
		}
	}
}

func randomNode(t *testing.T, r *rand.Rand, i int) *corev1.Node {
	line := fmt.Sprintf("n%d cpu=%d pods=%d zone=%c", i, 1+r.IntN(3), 1+r.IntN(4), 'a'+r.IntN(2))
	if r.IntN(3) == 0 {
		line += " taint=dedicated~x:NoSchedule"
	}
	if r.IntN(4) == 0 {
		line += " cordoned"
	}
	if r.IntN(2) == 0 {
		line += " labels=disk:ssd"
	}
	return scheduletest.Node(t, line)
}

func randomPod(t *testing.T, r *rand.Rand, name string) *corev1.Pod {
	line := fmt.Sprintf("%s cpu=%dm labels=app:web", name, 500*r.IntN(5))
	if r.IntN(3) == 0 {
		line += " tolerate=dedicated"
	}
	if r.IntN(3) == 0 {
		line += " select=disk:ssd"
	}
	if r.IntN(3) == 0 {
		line += " port=80"
	}
	switch r.IntN(5) {
	case 0:
		line += " near=app:web@topology.kubernetes.io/zone"
	case 1:
		line += " away=app:web@topology.kubernetes.io/zone"
	case 2:
		line += " labels=app:db near=app:web@disk"
	}
	p := scheduletest.Pod(t, line)
	if r.IntN(3) == 0 {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			TopologyKey: corev1.LabelTopologyZone, MaxSkew: 1, WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels}, MinDomains: ptr.To(int32(1 + r.IntN(2))),
		}}
	}
	return p
}

// randomEvent changes something and says what, as the loop around would.
func randomEvent(t *testing.T, r *rand.Rand, s *snapshot.Snapshot, nodes int) plugins.Event {
	if r.IntN(6) == 0 && nodes > 1 {
		s.RemoveNode(fmt.Sprintf("n%d", r.IntN(nodes)))
		return plugins.Event{Change: plugins.Removed}
	}
	if r.IntN(6) == 0 {
		if n := s.Node("n0"); n != nil {
			p := snapshot.NewPod(randomPod(t, r, "new"))
			s.Place(p, "n0")
			return plugins.Event{Change: plugins.PodPlaced, Node: n, Pod: p}
		}
	}
	if r.IntN(2) == 0 {
		uid := types.UID(fmt.Sprintf("uid-p%d", r.IntN(6)))
		if p, n := s.Remove(uid); n != nil {
			return plugins.Event{Change: plugins.PodGone, Node: n, Pod: p}
		}
	}
	i := r.IntN(nodes + 1)
	change := plugins.Labels | plugins.Taints | plugins.Allocatable
	if i == nodes {
		change = plugins.Added
	}
	return plugins.Event{Change: change, Node: s.SetNode(randomNode(t, r, i))}
}
