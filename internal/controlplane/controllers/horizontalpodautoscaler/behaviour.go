package horizontalpodautoscaler

import (
	"math"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/utils/ptr"
)

// The rules of an autoscaler without a behaviour of its own: down to the highest size recommended in downWindow, up to upFactor times the size at once, or
// to upAtLeast from fewer.
const (
	downWindow = 5 * time.Minute
	upFactor   = 2
	upAtLeast  = 4
)

// History is what was recommended and done lately, oldest first.
type History struct {
	Recommended []Recommendation
	Changes     []Change
}

// Recommendation is a size that the metrics called for.
type Recommendation struct {
	Replicas int32
	At       time.Time
}

// Change is a change of size; By is negative on the way down.
type Change struct {
	By int32
	At time.Time
}

// kept is what a behaviour can still ask for: the longest window and the longest period that validation allows are an hour.
const kept = time.Hour

// prune forgets what is too old to matter.
func (h History) prune(now time.Time) History {
	h.Recommended = slices.DeleteFunc(slices.Clone(h.Recommended), func(r Recommendation) bool { return now.Sub(r.At) > kept })
	h.Changes = slices.DeleteFunc(slices.Clone(h.Changes), func(c Change) bool { return now.Sub(c.At) > kept })
	return h
}

// lowest and highest are over the recommendations within a window, n included.
func (h History) lowest(n int32, window time.Duration, now time.Time) int32 {
	for _, r := range h.Recommended {
		if now.Sub(r.At) < window {
			n = min(n, r.Replicas)
		}
	}
	return n
}

func (h History) highest(n int32, window time.Duration, now time.Time) int32 {
	for _, r := range h.Recommended {
		if now.Sub(r.At) < window {
			n = max(n, r.Replicas)
		}
	}
	return n
}

// sizeAt is the size that a workload of now n Pods had at the beginning of a period.
func (h History) sizeAt(n int32, period time.Duration, now time.Time) int32 {
	for _, c := range h.Changes {
		if now.Sub(c.At) < period {
			n -= c.By
		}
	}
	return n
}

// limited is a size, and why it is that one.
type limited struct {
	replicas        int32
	reason, message string
}

// stabilise holds a size against those recommended lately: up only as far as all of them went, down only as far as the highest.
func (o Observed) stabilise(want int32) limited {
	current := o.Scale.Spec.Replicas
	up, down := time.Duration(0), downWindow
	if b := o.HPA.Spec.Behavior; b != nil {
		up = window(b.ScaleUp, 0)
		down = window(b.ScaleDown, downWindow)
	}
	n := min(max(current, o.History.lowest(want, up, o.Now)), o.History.highest(want, down, o.Now))
	if o.HPA.Spec.Behavior == nil {
		n = o.History.highest(want, down, o.Now)
	}
	switch {
	case n == want:
		return limited{n, "ReadyForNewScale", "recommended size matches current size"}
	case want >= current && o.HPA.Spec.Behavior != nil:
		return limited{n, "ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation"}
	}
	return limited{n, "ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation"}
}

func window(r *autoscalingv2.HPAScalingRules, otherwise time.Duration) time.Duration {
	if r == nil || r.StabilizationWindowSeconds == nil {
		return otherwise
	}
	return time.Duration(*r.StabilizationWindowSeconds) * time.Second
}

// limit keeps a size within the bounds of the autoscaler and its rate within the policies.
func (o Observed) limit(want int32) limited {
	current, lowest, highest := o.Scale.Spec.Replicas, minReplicas(o.HPA), o.HPA.Spec.MaxReplicas
	b := o.HPA.Spec.Behavior
	fastest := max(upFactor*current, upAtLeast)
	slowest := int32(math.MinInt32)
	if b != nil {
		fastest = highest
		if b.ScaleUp != nil {
			fastest = max(current, o.rate(b.ScaleUp, current, true))
		}
		if b.ScaleDown != nil {
			slowest = min(current, o.rate(b.ScaleDown, current, false))
		}
	}
	switch {
	case want > min(highest, fastest) && (b == nil || want > current):
		if fastest < highest {
			return limited{fastest, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"}
		}
		return limited{highest, "TooManyReplicas", "the desired replica count is more than the maximum replica count"}
	case want < max(lowest, slowest) && (b == nil || want < current):
		if slowest > lowest {
			return limited{slowest, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"}
		}
		return limited{lowest, "TooFewReplicas", "the desired replica count is less than the minimum replica count"}
	}
	return limited{want, "DesiredWithinRange", "the desired count is within the acceptable range"}
}

// rate is the size that the policies of one direction allow by now: each counts from the size at the beginning of its period.
func (o Observed) rate(r *autoscalingv2.HPAScalingRules, current int32, up bool) int32 {
	choose := ptr.Deref(r.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if choose == autoscalingv2.DisabledPolicySelect {
		return current
	}
	var out *int32
	for _, p := range r.Policies {
		n := o.History.sizeAt(current, time.Duration(p.PeriodSeconds)*time.Second, o.Now)
		change := float64(p.Value)
		if p.Type == autoscalingv2.PercentScalingPolicy {
			change = float64(n) * float64(p.Value) / 100
		}
		if up {
			n = ceil(float64(n) + change) // a share of few is less than one, and would never go up
		} else {
			n = int32(float64(n) - change)
		}
		// The larger change is the larger size on the way up, and the smaller on the way down.
		if out == nil || (n > *out) == (up == (choose == autoscalingv2.MaxChangePolicySelect)) {
			out = &n
		}
	}
	return ptr.Deref(out, current)
}

func minReplicas(hpa *autoscalingv2.HorizontalPodAutoscaler) int32 {
	return ptr.Deref(hpa.Spec.MinReplicas, 1)
}
