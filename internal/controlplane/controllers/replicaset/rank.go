package replicaset

import (
	"cmp"
	"math/bits"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// rank orders Pods by how little is lost with them, those to delete first. The order is the one that the ReplicaSet page of the
// Kubernetes documentation promises users: unassigned, then pending, then not ready, then the lowest pod-deletion-cost, then the most
// crowded node, then the youngest, ages compared on a logarithmic scale so that it is not always the last node filled that loses.
func rank(pods []*corev1.Pod, neighbours map[string]int, now time.Time) []*corev1.Pod {
	keys := make(map[*corev1.Pod]key, len(pods))
	for _, p := range pods {
		keys[p] = keyOf(p, neighbours, now)
	}
	out := slices.Clone(pods)
	slices.SortFunc(out, func(a, b *corev1.Pod) int {
		x, y := keys[a], keys[b]
		return cmp.Or(
			cmp.Compare(x.assigned, y.assigned),
			cmp.Compare(x.phase, y.phase),
			cmp.Compare(x.ready, y.ready),
			cmp.Compare(x.cost, y.cost),
			cmp.Compare(y.crowd, x.crowd),
			cmp.Compare(x.readyFor, y.readyFor),
			cmp.Compare(y.restarts, x.restarts),
			cmp.Compare(x.age, y.age),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return out
}

type key struct {
	assigned int // 0 without a node, 1 with
	phase    int // 0 Pending, 1 Unknown, 2 Running
	ready    int // 0 not ready, 1 ready
	cost     int64
	crowd    int
	readyFor int // bucket
	restarts int32
	age      int // bucket
}

func keyOf(p *corev1.Pod, neighbours map[string]int, now time.Time) key {
	k := key{cost: deletionCost(p), age: bucket(now.Sub(p.CreationTimestamp.Time))}
	if p.Spec.NodeName != "" {
		k.assigned = 1
		k.crowd = neighbours[p.Spec.NodeName]
	}
	switch p.Status.Phase {
	case corev1.PodRunning:
		k.phase = 2
	case corev1.PodUnknown:
		k.phase = 1
	}
	if podstate.Ready(p) {
		k.ready = 1
		k.readyFor = bucket(now.Sub(podstate.Condition(p, corev1.PodReady).LastTransitionTime.Time))
	}
	for _, c := range p.Status.ContainerStatuses {
		k.restarts = max(k.restarts, c.RestartCount)
	}
	return k
}

// bucket is the binary logarithm of d in seconds, 0 for less than one.
func bucket(d time.Duration) int {
	if d < 0 {
		return 0
	}
	return bits.Len64(uint64(d / time.Second))
}

// deletionCost is 0 for a Pod without the annotation, and for one whose annotation is no number: the API server refuses such values.
func deletionCost(p *corev1.Pod) int64 {
	cost, err := strconv.ParseInt(p.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return cost
}
