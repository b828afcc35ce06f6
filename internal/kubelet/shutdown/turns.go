package shutdown

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
)

// Critical is the priority from which on Pods are critical: that of the class system-cluster-critical.
const Critical = 2_000_000_000

// Config is the node's flags, named after the fields of a KubeletConfiguration.
type Config struct {
	GracePeriod         time.Duration     // for all Pods together; zero has no Pod ended for a shutdown
	GracePeriodCritical time.Duration     // the part of it that is kept for critical Pods
	ByPodPriority       map[string]string // instead of both: priority → period
}

// Stage is the period of the Pods of a priority and above, up to the next stage's.
type Stage struct {
	Priority int32
	Period   time.Duration
}

// Stages checks the flags and gives the stages they ask for, the lowest priority first; none when Pods are not to be ended.
func (c Config) Stages() ([]Stage, error) {
	if len(c.ByPodPriority) > 0 {
		return c.byPodPriority()
	}
	switch {
	case c.GracePeriod != 0 && c.GracePeriod < time.Second:
		return nil, fmt.Errorf("--shutdown-grace-period %s: must be 0, or at least 1s", c.GracePeriod)
	case c.GracePeriodCritical != 0 && c.GracePeriodCritical < time.Second:
		return nil, fmt.Errorf("--shutdown-grace-period-critical-pods %s: must be 0, or at least 1s", c.GracePeriodCritical)
	case c.GracePeriodCritical > c.GracePeriod:
		return nil, fmt.Errorf("--shutdown-grace-period-critical-pods %s: is part of --shutdown-grace-period, which is only %s", c.GracePeriodCritical, c.GracePeriod)
	case c.GracePeriod == 0:
		return nil, nil
	case c.GracePeriodCritical == 0:
		// The kubelet would end critical Pods last and give them no time at all, which nobody can want who has set a period.
		return []Stage{{0, c.GracePeriod}}, nil
	}
	return []Stage{{0, c.GracePeriod - c.GracePeriodCritical}, {Critical, c.GracePeriodCritical}}, nil
}

func (c Config) byPodPriority() ([]Stage, error) {
	const flag = "--shutdown-grace-period-by-pod-priority"
	if c.GracePeriod != 0 || c.GracePeriodCritical != 0 {
		return nil, fmt.Errorf("%s: replaces --shutdown-grace-period and --shutdown-grace-period-critical-pods; give it or them", flag)
	}
	var out []Stage
	for key, value := range c.ByPodPriority {
		priority, err := strconv.ParseInt(key, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%s %s=%s: %q is no priority of Pods, which is a whole number of 32 bits", flag, key, value, key)
		}
		period, err := time.ParseDuration(value)
		if err != nil || period < time.Second {
			return nil, fmt.Errorf("%s %s=%s: must be a duration of at least 1s", flag, key, value)
		}
		if slices.ContainsFunc(out, func(s Stage) bool { return s.Priority == int32(priority) }) {
			return nil, fmt.Errorf("%s: gives priority %d twice", flag, priority)
		}
		out = append(out, Stage{int32(priority), period})
	}
	slices.SortFunc(out, func(a, b Stage) int { return cmp.Compare(a.Priority, b.Priority) })
	return out, nil
}

// Total is how long all stages together may take.
func Total(stages []Stage) time.Duration {
	var sum time.Duration
	for _, s := range stages {
		sum += s.Period
	}
	return sum
}

// Published writes the flags into a node's published configuration.
func (c Config) Published(into *kubeletconfig.KubeletConfiguration) {
	into.ShutdownGracePeriod.Duration, into.ShutdownGracePeriodCriticalPods.Duration = c.GracePeriod, c.GracePeriodCritical
	if len(c.ByPodPriority) == 0 {
		return
	}
	stages, err := c.Stages()
	if err != nil {
		return // a node with such flags does not start
	}
	for _, s := range stages {
		into.ShutdownGracePeriodByPodPriority = append(into.ShutdownGracePeriodByPodPriority, kubeletconfig.ShutdownGracePeriodByPodPriority{
			Priority: s.Priority, ShutdownGracePeriodSeconds: int64(s.Period / time.Second),
		})
	}
}

// Turn is Pods that end side by side, and how long the next turn waits for them.
type Turn struct {
	Period time.Duration
	Pods   []*v1.Pod
}

// Reserve is the end of a turn, when what still runs is killed: so that this is over, and has been told to the API, before the next turn begins or the host is off.
func (t Turn) Reserve() time.Duration { return min(t.Period/10, time.Second) }

// Order puts Pods into turns, by the stage with the highest priority that is not above theirs; Pods below all stages are with the lowest. Pods that have ended
// are left out, and so are turns without Pods: nobody waits for those.
func Order(stages []Stage, pods []*v1.Pod) []Turn {
	if len(stages) == 0 {
		return nil
	}
	turns := make([]Turn, len(stages))
	for i, s := range stages {
		turns[i].Period = s.Period
	}
	for _, p := range pods {
		if p.Status.Phase == v1.PodSucceeded || p.Status.Phase == v1.PodFailed {
			continue
		}
		var priority int32
		if p.Spec.Priority != nil {
			priority = *p.Spec.Priority
		}
		i, exact := slices.BinarySearchFunc(stages, priority, func(s Stage, want int32) int { return cmp.Compare(s.Priority, want) })
		if !exact {
			i = max(i-1, 0)
		}
		turns[i].Pods = append(turns[i].Pods, p)
	}
	turns = slices.DeleteFunc(turns, func(t Turn) bool { return len(t.Pods) == 0 })
	for _, t := range turns {
		slices.SortFunc(t.Pods, func(a, b *v1.Pod) int {
			return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
		})
	}
	return turns
}
