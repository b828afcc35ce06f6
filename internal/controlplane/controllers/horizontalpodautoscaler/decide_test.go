package horizontalpodautoscaler

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/defaults"
)

// story is one autoscaler over time; what is decided is carried out at once.
type story struct {
	t       *testing.T
	hpa     *autoscalingv2.HorizontalPodAutoscaler
	current int32
	history History
	now     time.Time
}

// TestDecide reads stories of one autoscaler:
//
//	hpa replicas=N     makes it, with "field: value" lines
//	after D            looks at it that much later. The lines are Pods, "NAME uses=Q of=Q [missing|pending|unready|starting|failed]", or N such with "N x",
//	                   or "value N" for what is not measured of Pods, or "error TEXT"; one "--" stands between two metrics
//	set replicas=N     somebody else sets the size
//	fail TEXT          as after 0s, where the new size cannot be written
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			switch d.Cmd {
			case "hpa":
				s.make(d.Input)
				s.current = s.number(d.CmdArgs[0].Vals[0])
				return ""
			case "after":
				return s.look(d.CmdArgs[0].Key, d.Input, nil)
			case "fail":
				return s.look("0s", d.Input, errors.New("no"))
			case "set":
				s.current = s.number(d.CmdArgs[0].Vals[0])
				return ""
			}
			t.Fatalf("no such command: %s", d.Cmd)
			return ""
		})
	})
}

func (s *story) number(text string) int32 {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return int32(n)
}

func (s *story) make(text string) {
	*s = story{t: s.t, now: podtest.Now, hpa: &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Generation: 1}}}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "min":
			s.hpa.Spec.MinReplicas = ptr.To(s.number(value))
		case "max":
			s.hpa.Spec.MaxReplicas = s.number(value)
		case "up", "down":
			s.behave(key, value)
		default:
			s.hpa.Spec.Metrics = append(s.hpa.Spec.Metrics, s.metric(key, value))
		}
	}
	defaults.SetHorizontalPodAutoscaler(s.hpa)
}

func (s *story) metric(key, value string) autoscalingv2.MetricSpec {
	target := autoscalingv2.MetricTarget{}
	if percent, ok := strings.CutSuffix(value, "%"); ok {
		target.AverageUtilization = ptr.To(s.number(percent))
	} else if each, ok := strings.CutSuffix(value, " each"); ok {
		target.AverageValue = ptr.To(resource.MustParse(each))
	} else {
		target.Value = ptr.To(resource.MustParse(value))
	}
	id := autoscalingv2.MetricIdentifier{Name: "rate"}
	switch key {
	case "cpu", "memory":
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceName(key), Target: target}}
	case "pods":
		return autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: id, Target: target}}
	case "object":
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{
			Metric: id, Target: target, DescribedObject: autoscalingv2.CrossVersionObjectReference{Kind: "Service", Name: "web"},
		}}
	case "external":
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Metric: id, Target: target}}
	}
	s.t.Fatalf("no such field: %q", key)
	return autoscalingv2.MetricSpec{}
}

// behave reads "window=60 select=Min tolerance=0.2 pods=4/15 percent=100/60".
func (s *story) behave(direction, text string) {
	if s.hpa.Spec.Behavior == nil {
		s.hpa.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{}
	}
	r := &autoscalingv2.HPAScalingRules{}
	for _, word := range strings.Fields(text) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "window":
			r.StabilizationWindowSeconds = ptr.To(s.number(value))
		case "select":
			r.SelectPolicy = ptr.To(autoscalingv2.ScalingPolicySelect(value))
		case "tolerance":
			r.Tolerance = ptr.To(resource.MustParse(value))
		case "pods", "percent":
			n, period, _ := strings.Cut(value, "/")
			t := map[string]autoscalingv2.HPAScalingPolicyType{"pods": autoscalingv2.PodsScalingPolicy, "percent": autoscalingv2.PercentScalingPolicy}[key]
			r.Policies = append(r.Policies, autoscalingv2.HPAScalingPolicy{Type: t, Value: s.number(n), PeriodSeconds: s.number(period)})
		default:
			s.t.Fatalf("no such word: %q", word)
		}
	}
	if direction == "up" {
		s.hpa.Spec.Behavior.ScaleUp = r
	} else {
		s.hpa.Spec.Behavior.ScaleDown = r
	}
}

func (s *story) look(after, input string, refused error) string {
	d, err := time.ParseDuration(after)
	if err != nil {
		s.t.Fatal(err)
	}
	s.now = s.now.Add(d)
	o := Observed{HPA: s.hpa, Scale: &autoscalingv1.Scale{}, History: s.history, Now: s.now}
	o.Scale.Spec.Replicas, o.Scale.Status.Replicas = s.current, s.current
	for i, part := range strings.Split(input, "--\n") {
		o.Readings = append(o.Readings, s.reading(&o, part, i == 0))
	}
	a := Decide(o)
	if a.Rescale {
		a.Rescaled(o, refused)
		if refused == nil {
			s.current = a.Replicas
		}
	}
	s.history, s.hpa.Status = a.History, a.Status
	return show(a)
}

func (s *story) reading(o *Observed, text string, pods bool) Reading {
	r := Reading{Samples: map[string]Sample{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if v, ok := strings.CutPrefix(line, "value "); ok {
			q := resource.MustParse(v)
			r.Value = q.MilliValue()
			continue
		}
		if line == "" {
			continue
		}
		if v, ok := strings.CutPrefix(line, "error "); ok {
			r.Err = errors.New(v)
			continue
		}
		n := 1
		if many, rest, ok := strings.Cut(line, " x "); ok {
			n, line = int(s.number(many)), rest
		}
		for i := range n {
			p, sample := s.pod(line, fmt.Sprintf("-%d", i))
			if pods {
				o.Pods = append(o.Pods, p)
			}
			if sample != nil {
				r.Samples[p.Name] = *sample
			}
		}
	}
	return r
}

// pod reads "NAME uses=Q of=Q …". A Pod runs and is ready for an hour, unless it is said otherwise.
func (s *story) pod(line, suffix string) (*corev1.Pod, *Sample) {
	words := strings.Fields(line)
	p := podtest.Line(s.t, words[0]+suffix+" node=n1 ready=1h age=2h")
	p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(s.now.Add(-time.Hour))
	p.Status.StartTime = &metav1.Time{Time: s.now.Add(-2 * time.Hour)}
	sample := &Sample{At: s.now, Window: 30 * time.Second}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "uses":
			q := resource.MustParse(value)
			sample.Value = q.MilliValue()
		case "of":
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(value), corev1.ResourceMemory: resource.MustParse(value)}
		case "missing":
			sample = nil
		case "pending":
			p.Status.Phase, sample = corev1.PodPending, nil
		case "failed":
			p.Status.Phase, sample = corev1.PodFailed, nil
		case "unready": // never been ready
			p.Status.Conditions[0] = corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: *p.Status.StartTime}
		case "starting": // ready for less than a window
			p.Status.StartTime = &metav1.Time{Time: s.now.Add(-time.Minute)}
			p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(s.now.Add(-10 * time.Second))
		default:
			s.t.Fatalf("no such word: %q", w)
		}
	}
	return p, sample
}

func show(a Actions) string {
	var b strings.Builder
	if a.Rescale {
		fmt.Fprintf(&b, "scale to %d: %s\n", a.Replicas, a.Reason)
	} else {
		fmt.Fprintf(&b, "stay at %d\n", a.Replicas)
	}
	for _, m := range a.Status.CurrentMetrics {
		var v autoscalingv2.MetricValueStatus
		switch {
		case m.Resource != nil:
			v = m.Resource.Current
		case m.Pods != nil:
			v = m.Pods.Current
		case m.Object != nil:
			v = m.Object.Current
		case m.External != nil:
			v = m.External.Current
		}
		fmt.Fprintf(&b, "  %s:", m.Type)
		if v.AverageUtilization != nil {
			fmt.Fprintf(&b, " %d%%", *v.AverageUtilization)
		}
		if v.AverageValue != nil {
			fmt.Fprintf(&b, " %s each", v.AverageValue)
		}
		if v.Value != nil {
			fmt.Fprintf(&b, " %s", v.Value)
		}
		b.WriteByte('\n')
	}
	for _, c := range a.Status.Conditions {
		if c.Reason == "DesiredWithinRange" || c.Reason == "ValidMetricFound" || c.Reason == "ReadyForNewScale" || c.Reason == "NotScaledToZero" {
			continue // as it should be
		}
		fmt.Fprintf(&b, "  %s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	for _, e := range a.Events {
		if e.Type == corev1.EventTypeWarning {
			fmt.Fprintf(&b, "  %s: %s\n", e.Reason, e.Message)
		}
	}
	return b.String()
}

func TestAContainerIsMeasuredByItself(t *testing.T) {
	p := podtest.Line(t, "web cpu=100m")
	p.Spec.InitContainers = []corev1.Container{
		{Name: "once", Resources: corev1.ResourceRequirements{}},
		{Name: "proxy", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m")}}},
	}
	for container, want := range map[string]int64{"": 150, "c": 100, "proxy": 50} {
		got, err := requests([]*corev1.Pod{p}, corev1.ResourceCPU, container)
		if err != nil || got["web"] != want {
			t.Errorf("container %q requests %v, %v, want %d", container, got, err, want)
		}
	}
	if _, err := requests([]*corev1.Pod{p}, corev1.ResourceCPU, "other"); err == nil {
		t.Error("a container that is not there requests something")
	}
	p.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}
	if got, err := requests([]*corev1.Pod{p}, corev1.ResourceCPU, ""); err != nil || got["web"] != 1000 {
		t.Errorf("a Pod that requests one CPU for itself: got %v, %v", got, err)
	}
}

func TestASumOfValuesDoesNotWrapAround(t *testing.T) {
	if got := total([]int64{math.MaxInt64, 5, math.MaxInt64}); got != math.MaxInt64 {
		t.Errorf("got %d", got)
	}
}

// Whatever is measured, the size is within the bounds, and goes neither down while something is missing nor against what was measured.
func FuzzTheSizeStaysWithinItsBounds(f *testing.F) {
	f.Add(int32(3), int32(1), int32(10), int64(500), int64(200), uint8(2), uint8(1), uint8(1), false)
	f.Add(int32(0), int32(0), int32(10), int64(0), int64(0), uint8(0), uint8(0), uint8(0), true)
	f.Fuzz(func(t *testing.T, current, lowest, highest int32, used, requested int64, counted, missing, pending uint8, behave bool) {
		if lowest < 1 || highest < lowest || current < 0 || used < 0 || requested < 1 || used > math.MaxInt64/100_000 || requested > math.MaxInt64/100_000 {
			t.Skip()
		}
		s := &story{t: t}
		s.make("cpu: 50%")
		s.hpa.Spec.MinReplicas, s.hpa.Spec.MaxReplicas, s.now = &lowest, highest, podtest.Now
		if behave {
			s.hpa.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{}
			defaults.SetHorizontalPodAutoscaler(s.hpa)
		}
		o := Observed{HPA: s.hpa, Scale: &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: current}}, Now: s.now}
		r := Reading{Samples: map[string]Sample{}}
		for i := range int(counted) + int(missing) + int(pending) {
			p, sample := s.pod("web", fmt.Sprint(i))
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(requested, resource.DecimalSI)}
			sample.Value = used
			switch {
			case i < int(counted):
				r.Samples[p.Name] = *sample
			case i >= int(counted)+int(missing):
				p.Status.Phase = corev1.PodPending
			}
			o.Pods = append(o.Pods, p)
		}
		o.Readings = []Reading{r}
		a := Decide(o)
		if a.Replicas != current && (a.Replicas < lowest || a.Replicas > highest) {
			t.Errorf("from %d to %d, outside of %d to %d", current, a.Replicas, lowest, highest)
		}
		if current == 0 && a.Replicas != 0 {
			t.Errorf("what was switched off is at %d", a.Replicas)
		}
		inBounds := current >= lowest && current <= highest
		if counted == 0 && inBounds && a.Replicas != current {
			t.Errorf("from %d to %d without any measurement", current, a.Replicas)
		}
	})
}
