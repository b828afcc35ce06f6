package daemonset

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
)

// TestDecide reads a DaemonSet from the arguments of "decide", and nodes and Pods from the lines below. Its template is of revision "new".
//
//	unavailable=V surge=V  maxUnavailable and maxSurge; 1 and 0 by default
//	ondelete               the other strategy
//	minready=D             minReadySeconds
//	select=K:V             the template's nodeSelector
//	on=N                   the template's spec.nodeName
//	tolerate=K             a toleration of the template
//	hostnetwork            the template's
//
//	node N [labels=K:V,…] [taint=K:E]…
//	pod  N REVISION WORDS…  for node N; the words are podtest's, and besides: gone (its deletion is asked for, unseen), unbound.
//	                        One of another revision is a day old, unless it says age=
//	backoff N D             how long a failed Pod is still left on node N
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "decide" {
				t.Fatalf("no such command: %s", d.Cmd)
			}
			return printed(Decide(observed(t, d)))
		})
	})
}

func observed(t *testing.T, d *datadriven.TestData) Observed {
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "log", UID: "uid-log", Generation: 2}}
	rolling := &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &intstr.IntOrString{IntVal: 1}, MaxSurge: &intstr.IntOrString{}}
	set.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: rolling}
	spec := &set.Spec.Template.Spec
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "unavailable":
			*rolling.MaxUnavailable = intstr.Parse(a.Vals[0])
		case "surge":
			*rolling.MaxSurge, *rolling.MaxUnavailable = intstr.Parse(a.Vals[0]), intstr.IntOrString{}
		case "ondelete":
			set.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
		case "minready":
			set.Spec.MinReadySeconds = int32(duration(t, a.Vals[0]) / time.Second)
		case "select":
			spec.NodeSelector = podtest.Labels(a.Vals[0])
		case "on":
			spec.NodeName = a.Vals[0]
		case "tolerate":
			spec.Tolerations = append(spec.Tolerations, corev1.Toleration{Key: a.Vals[0], Operator: corev1.TolerationOpExists})
		case "hostnetwork":
			spec.HostNetwork = true
		default:
			t.Fatalf("no such argument: %s", a.Key)
		}
	}
	o := Observed{Set: set, Hash: "new", Deleting: sets.New[types.UID](), Backoff: map[string]time.Duration{}, Now: podtest.Now}
	for line := range strings.Lines(d.Input) {
		words := strings.Fields(line)
		switch words[0] {
		case "node":
			o.Nodes = append(o.Nodes, newNode(words[1], words[2:]))
		case "pod":
			p := readPod(t, words[1], words[2], words[3:])
			p.Name = fmt.Sprintf("%s-%s", words[1], words[2])
			for n := 2; o.has(p.Name); n++ {
				p.Name = fmt.Sprintf("%s-%s-%d", words[1], words[2], n)
			}
			p.UID = types.UID(p.Name)
			if words[len(words)-1] == "gone" {
				o.Deleting.Insert(p.UID)
			}
			o.Pods = append(o.Pods, p)
		case "backoff":
			o.Backoff[words[1]] = duration(t, words[2])
		default:
			t.Fatalf("no such line: %s", line)
		}
	}
	return o
}

func (o Observed) has(name string) bool {
	for _, p := range o.Pods {
		if p.Name == name {
			return true
		}
	}
	return false
}

func newNode(name string, words []string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		if key == "labels" {
			n.Labels = podtest.Labels(value)
			continue
		}
		taint, effect, _ := strings.Cut(value, ":")
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: taint, Effect: corev1.TaintEffect(effect)})
	}
	return n
}

func readPod(t *testing.T, node, revision string, words []string) *corev1.Pod {
	bound, rest := true, []string{"pod"}
	for _, w := range words {
		switch w {
		case "unbound":
			bound = false
		case "gone":
		default:
			rest = append(rest, w)
		}
	}
	if bound {
		rest = append(rest[:1:1], append([]string{"node=" + node}, rest[1:]...)...)
	}
	p := podtest.Line(t, strings.Join(rest, " "))
	if revision != "new" && p.CreationTimestamp.Time.Equal(podtest.Now) {
		p.CreationTimestamp = metav1.NewTime(podtest.Now.Add(-24 * time.Hour))
	}
	p.Labels = map[string]string{appsv1.DefaultDaemonSetUniqueLabelKey: revision}
	pin(&p.Spec, node)
	return p
}

func duration(t *testing.T, s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func printed(a Actions) string {
	var b strings.Builder
	if len(a.Create) > 0 {
		fmt.Fprintf(&b, "create for: %s\n", strings.Join(a.Create, " "))
	}
	if len(a.Delete) > 0 {
		b.WriteString("delete:")
		for _, p := range a.Delete {
			b.WriteString(" " + p.Name)
		}
		b.WriteString("\n")
	}
	if len(a.Failed) > 0 {
		fmt.Fprintf(&b, "failed on: %s\n", strings.Join(a.Failed, " "))
	}
	for _, e := range a.Events {
		fmt.Fprintf(&b, "%s %s: %s\n", e.Type, e.Reason, e.Message)
	}
	s := a.Status
	fmt.Fprintf(&b, "status: desired=%d current=%d updated=%d ready=%d available=%d unavailable=%d misscheduled=%d\n", s.DesiredNumberScheduled,
		s.CurrentNumberScheduled, s.UpdatedNumberScheduled, s.NumberReady, s.NumberAvailable, s.NumberUnavailable, s.NumberMisscheduled)
	if a.Recheck > 0 {
		fmt.Fprintf(&b, "look again in %v\n", a.Recheck)
	}
	return b.String()
}
