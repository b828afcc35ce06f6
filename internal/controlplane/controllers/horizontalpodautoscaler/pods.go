package horizontalpodautoscaler

import (
	"errors"
	"fmt"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	resources "k8s.io/component-helpers/resource"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// A Pod that starts uses more CPU than it will. Its samples count once it has been ready for a whole window; after startPeriod they count unless it has never
// been ready, which is so when its condition has not changed since firstReady after the start. The HorizontalPodAutoscaler page of the Kubernetes
// documentation gives both as the defaults that users rely on.
const (
	startPeriod = 5 * time.Minute
	firstReady  = 30 * time.Second
)

// groups are a workload's Pods by what their samples are worth. Pods that have failed or are going are in none.
type groups struct {
	counted []string // have a sample that counts
	unready []string // have not begun in earnest: their samples do not count
	missing []string // run, but were not measured
}

// sortPods groups the Pods. For CPU it also matters whether a Pod is still starting.
func sortPods(pods []*corev1.Pod, samples map[string]Sample, isCPU bool, now time.Time) groups {
	var g groups
	for _, p := range pods {
		sample, measured := samples[p.Name]
		switch {
		case p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed:
		case p.Status.Phase == corev1.PodPending:
			g.unready = append(g.unready, p.Name)
		case !measured:
			g.missing = append(g.missing, p.Name)
		case isCPU && starting(p, sample, now):
			g.unready = append(g.unready, p.Name)
		default:
			g.counted = append(g.counted, p.Name)
		}
	}
	return g
}

func starting(p *corev1.Pod, s Sample, now time.Time) bool {
	ready := podstate.Condition(p, corev1.PodReady)
	if ready == nil || p.Status.StartTime == nil {
		return true
	}
	began, changed := p.Status.StartTime.Time, ready.LastTransitionTime.Time
	if now.Before(began.Add(startPeriod)) {
		return ready.Status == corev1.ConditionFalse || s.At.Before(changed.Add(s.Window))
	}
	return ready.Status == corev1.ConditionFalse && changed.Before(began.Add(firstReady))
}

// readyCount counts the Pods that serve.
func readyCount(pods []*corev1.Pod) (n int) {
	for _, p := range pods {
		if p.Status.Phase == corev1.PodRunning && podstate.Ready(p) {
			n++
		}
	}
	return n
}

// use is how much is used: in relation to the target, and on average.
type use struct {
	ratio   float64
	average int64
	percent int32 // of what is requested; only where the target is such a share
}

// measure works out the use of values by Pod. atTarget is the value of a Pod that uses exactly what it should; of one that must not be the reason to go
// down, where the target is a share.
type measure struct {
	of       func(values map[string]int64) (use, error)
	atTarget func(pod string) int64
}

// againstValue measures against an amount per Pod.
func againstValue(target int64) measure {
	return measure{
		of: func(values map[string]int64) (use, error) {
			average := sum(values) / int64(len(values))
			return use{ratio: float64(average) / float64(target), average: average}, nil
		},
		atTarget: func(string) int64 { return target },
	}
}

// againstRequests measures against a share, in percent, of what the Pods request.
func againstRequests(target int32, requests map[string]int64) measure {
	return measure{
		of: func(values map[string]int64) (use, error) {
			requested := int64(0)
			for pod := range values {
				requested += requests[pod]
			}
			if requested == 0 {
				return use{}, errors.New("no metrics returned matched known pods")
			}
			used := sum(values)
			percent := int32(min(used*100/requested, math.MaxInt32))
			return use{ratio: float64(percent) / float64(target), average: used / int64(len(values)), percent: percent}, nil
		},
		atTarget: func(pod string) int64 { return requests[pod] * int64(max(100, target)) / 100 },
	}
}

func sum(values map[string]int64) int64 {
	list := make([]int64, 0, len(values))
	for _, v := range values {
		list = append(list, v)
	}
	return total(list)
}

// size works out how many Pods bring the use to the target.
//
// What is not known must not make things worse: a Pod that was not measured is taken to be at its target when the others say to go down, and idle when they
// say to go up, as is one that is still starting. If that turns the answer around, the size stays.
func size(current int32, g groups, samples map[string]Sample, t Tolerance, m measure) (int32, use, error) {
	values := map[string]int64{}
	for _, pod := range g.counted {
		values[pod] = samples[pod].Value
	}
	if len(values) == 0 {
		return 0, use{}, errors.New("did not receive metrics for targeted pods (pods might be unready)")
	}
	known, err := m.of(values)
	if err != nil {
		return 0, use{}, err
	}
	growing := known.ratio > 1
	if len(g.missing) == 0 && (len(g.unready) == 0 || !growing) {
		if t.covers(known.ratio) {
			return current, known, nil
		}
		return ceil(known.ratio * float64(len(g.counted))), known, nil
	}
	for _, pod := range g.missing {
		switch {
		case growing:
			values[pod] = 0
		case known.ratio < 1:
			values[pod] = m.atTarget(pod)
		}
	}
	if growing {
		for _, pod := range g.unready {
			values[pod] = 0
		}
	}
	assumed, err := m.of(values)
	if err != nil {
		return 0, known, err
	}
	n := ceil(assumed.ratio * float64(len(values)))
	if t.covers(assumed.ratio) || growing != (assumed.ratio > 1) || growing && n < current || !growing && n > current {
		return current, known, nil
	}
	return n, known, nil
}

func ceil(x float64) int32 { return int32(min(math.Ceil(x), math.MaxInt32)) }

// requests is what each Pod, or one container of each, requests of a resource, in thousandths. A Pod that says for itself what it requests needs no sum.
func requests(pods []*corev1.Pod, resource corev1.ResourceName, container string) (map[string]int64, error) {
	out := make(map[string]int64, len(pods))
	for _, p := range pods {
		if container == "" && resources.IsPodLevelRequestsSet(p) {
			q, ok := resources.PodRequests(p, resources.PodResourcesOptions{})[resource]
			if !ok {
				return nil, fmt.Errorf("missing pod-level request for %s in Pod %s", resource, p.Name)
			}
			out[p.Name] = q.MilliValue()
			continue
		}
		found := container == ""
		for _, c := range running(p) {
			if container != "" && c.Name != container {
				continue
			}
			found = true
			q, ok := c.Resources.Requests[resource]
			if !ok {
				return nil, fmt.Errorf("missing request for %s in container %s of Pod %s", resource, c.Name, p.Name)
			}
			out[p.Name] += q.MilliValue()
		}
		if !found {
			return nil, fmt.Errorf("container %s not found in Pod %s", container, p.Name)
		}
	}
	return out, nil
}

// running are the containers that run as long as the Pod does: sidecars among the init containers too.
func running(p *corev1.Pod) []corev1.Container {
	list := p.Spec.Containers[:len(p.Spec.Containers):len(p.Spec.Containers)]
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			list = append(list, c)
		}
	}
	return list
}
