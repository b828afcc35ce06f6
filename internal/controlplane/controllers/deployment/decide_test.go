package deployment

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// cluster plays the rest of the control plane for a Deployment: it carries out each step, and runs Pods as told.
type cluster struct {
	t    *testing.T
	d    *appsv1.Deployment
	sets []*appsv1.ReplicaSet
	now  time.Time
	made int
}

func (c *cluster) set(name string) *appsv1.ReplicaSet {
	for _, rs := range c.sets {
		if c.label(rs) == name {
			return rs
		}
	}
	c.t.Fatalf("no ReplicaSet of image %s", name)
	return nil
}

// label calls a ReplicaSet by its image: names made of hashes tell a reader nothing.
func (c *cluster) label(rs *appsv1.ReplicaSet) string {
	return rs.Spec.Template.Spec.Containers[0].Image
}

func (c *cluster) observed() Observed {
	o := Observed{Deployment: c.d.DeepCopy(), Now: c.now, Pods: map[types.UID][]*corev1.Pod{}}
	for _, rs := range c.sets {
		o.Sets = append(o.Sets, rs.DeepCopy())
		for range rs.Status.Replicas + ptr.Deref(rs.Status.TerminatingReplicas, 0) {
			o.Pods[rs.UID] = append(o.Pods[rs.UID], &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}})
		}
	}
	return o
}

// step makes one decision, carries it out and says what it was.
func (c *cluster) step() string {
	a := Decide(c.observed())
	var b strings.Builder
	if a.Create != nil {
		rs := a.Create.DeepCopy()
		c.made++
		rs.UID, rs.Generation = types.UID(fmt.Sprintf("uid-%d", c.made)), 1
		rs.CreationTimestamp = metav1.NewTime(c.now)
		c.sets = append(c.sets, rs)
		fmt.Fprintf(&b, "create %s with %d, revision %s\n", c.label(rs), size(rs), rs.Annotations[annotationRevision])
	}
	for _, u := range a.Update {
		rs := c.set(c.label(u.Set))
		if from := size(rs); from != u.Replicas {
			fmt.Fprintf(&b, "scale %s from %d to %d\n", c.label(rs), from, u.Replicas)
			rs.Generation++
		}
		if was, is := rs.Annotations[annotationRevision], u.Annotations[annotationRevision]; was != is {
			fmt.Fprintf(&b, "revision of %s becomes %s, it was %s before\n", c.label(rs), is, u.Annotations[annotationHistory])
		}
		rs.Spec.Replicas, rs.Spec.MinReadySeconds, rs.Annotations = ptr.To(u.Replicas), u.MinReadySeconds, u.Annotations
	}
	for _, rs := range a.Delete {
		fmt.Fprintf(&b, "delete %s\n", c.label(rs))
		c.sets = slices.DeleteFunc(c.sets, func(x *appsv1.ReplicaSet) bool { return x.UID == rs.UID })
	}
	if a.Revision != "" {
		metav1.SetMetaDataAnnotation(&c.d.ObjectMeta, annotationRevision, a.Revision)
	}
	c.d.Status = a.Status
	return b.String()
}

// settle takes steps until nothing changes, with the Pods as they are.
func (c *cluster) settle() string {
	var b strings.Builder
	for range 20 {
		s := c.step()
		if s == "" {
			return b.String()
		}
		b.WriteString(s)
	}
	c.t.Fatalf("no end to it:\n%s", b.String())
	return ""
}

// run lets every ReplicaSet have its Pods. Those of broken images never become available.
func (c *cluster) run(broken []string) {
	for _, rs := range c.sets {
		n := size(rs)
		rs.Status = appsv1.ReplicaSetStatus{Replicas: n, ObservedGeneration: rs.Generation, TerminatingReplicas: ptr.To[int32](0)}
		if !slices.Contains(broken, c.label(rs)) {
			rs.Status.ReadyReplicas, rs.Status.AvailableReplicas = n, n
		}
	}
}

func (c *cluster) status() string {
	s := c.d.Status
	var b strings.Builder
	fmt.Fprintf(&b, "replicas %d, updated %d, ready %d, available %d, unavailable %d\n", s.Replicas, s.UpdatedReplicas, s.ReadyReplicas, s.AvailableReplicas, s.UnavailableReplicas)
	for _, k := range s.Conditions {
		fmt.Fprintf(&b, "%s=%s %s\n", k.Type, k.Status, k.Reason)
	}
	return b.String()
}

// TestDecide plays scripts. Commands:
//
//	deployment replicas=N surge=S unavailable=S image=I [recreate] [history=N] [deadline=S]   a new Deployment
//	change ...            the same arguments, and paused/resume; applied to what is there
//	settle                steps, without Pods changing, until nothing is left to do
//	run [broken=(I,…)]    every ReplicaSet gets its Pods, available but for broken images; then settle
//	rollout [broken=(I,…)] run again and again until nothing is left to do
//	pods I available=N    N Pods of image I are available
//	pass D                time passes, then settle
//	status                what the status says
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		c := &cluster{t: t, now: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			c.t = t
			return c.command(d)
		})
	})
}

func (c *cluster) command(d *datadriven.TestData) string {
	var broken []string
	if d.HasArg("broken") {
		for _, a := range d.CmdArgs {
			if a.Key == "broken" {
				broken = a.Vals
			}
		}
	}
	switch d.Cmd {
	case "deployment":
		*c = cluster{t: c.t, now: c.now, d: &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid-web"},
			Spec: appsv1.DeploymentSpec{
				Selector:                &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
				Template:                corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}},
				Strategy:                appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{}},
				ProgressDeadlineSeconds: ptr.To[int32](600),
				RevisionHistoryLimit:    ptr.To[int32](10),
			},
		}}
		c.change(d)
		return c.settle()
	case "change":
		c.change(d)
		return c.settle()
	case "settle":
		return c.settle()
	case "run":
		c.run(broken)
		return c.settle()
	case "rollout":
		var b strings.Builder
		for range 50 {
			c.run(broken)
			s := c.settle()
			if s == "" {
				return b.String()
			}
			b.WriteString(s)
		}
		c.t.Fatal("no end to the rollout")
	case "pods":
		rs := c.set(d.CmdArgs[0].Key)
		var n int
		d.ScanArgs(c.t, "available", &n)
		rs.Status.Replicas, rs.Status.ReadyReplicas, rs.Status.AvailableReplicas = size(rs), int32(n), int32(n)
		return c.settle()
	case "terminating":
		var n int
		d.ScanArgs(c.t, "count", &n)
		c.set(d.CmdArgs[0].Key).Status.TerminatingReplicas = ptr.To(int32(n))
		return c.settle()
	case "pass":
		by, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			c.t.Fatal(err)
		}
		c.now = c.now.Add(by)
		return c.settle()
	case "status":
		return c.status()
	}
	c.t.Fatalf("no such command: %s", d.Cmd)
	return ""
}

func (c *cluster) change(d *datadriven.TestData) {
	spec := &c.d.Spec
	c.d.Generation++
	for _, a := range d.CmdArgs {
		number := func() *int32 {
			var n int
			a.Scan(c.t, 0, &n)
			return ptr.To(int32(n))
		}
		switch a.Key {
		case "replicas":
			spec.Replicas = number()
		case "image":
			spec.Template.Spec.Containers[0].Image = a.Vals[0]
		case "surge":
			spec.Strategy.RollingUpdate.MaxSurge = ptr.To(intstr.Parse(a.Vals[0]))
		case "unavailable":
			spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.Parse(a.Vals[0]))
		case "recreate":
			spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		case "history":
			spec.RevisionHistoryLimit = number()
		case "deadline":
			spec.ProgressDeadlineSeconds = number()
		case "paused":
			spec.Paused = true
		case "resume":
			spec.Paused = false
		default:
			c.t.Fatalf("no such argument: %s", a.Key)
		}
	}
}
