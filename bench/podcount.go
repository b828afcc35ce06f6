package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// counts is how many Pods there are, and are Ready: all, and by image.
type counts struct {
	all, ready int
	images     map[string]int // Ready ones
}

// podCount follows a watch of Pods.
type podCount struct {
	mu      sync.Mutex
	counts  counts
	pods    map[types.UID]string // image, if Ready
	changed chan struct{}
}

var _ cache.ResourceEventHandler = (*podCount)(nil)

func newPodCount() *podCount {
	return &podCount{counts: counts{images: map[string]int{}}, pods: map[types.UID]string{}, changed: make(chan struct{}, 1)}
}

// OnAdd counts a Pod.
func (c *podCount) OnAdd(obj any, _ bool) { c.set(obj.(*corev1.Pod)) }

// OnUpdate counts what a Pod is now.
func (c *podCount) OnUpdate(_, obj any) { c.set(obj.(*corev1.Pod)) }

// OnDelete counts a Pod no more.
func (c *podCount) OnDelete(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(p.UID, false, "")
	delete(c.pods, p.UID)
	c.counts.all--
	c.poke()
}

func (c *podCount) set(p *corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.pods[p.UID]; !ok {
		c.pods[p.UID] = ""
		c.counts.all++
	}
	c.change(p.UID, podReady(p), p.Spec.Containers[0].Image)
	c.poke()
}

func (c *podCount) change(uid types.UID, ready bool, image string) {
	if was := c.pods[uid]; was != "" {
		c.counts.ready--
		c.counts.images[was]--
		c.pods[uid] = ""
	}
	if ready {
		c.counts.ready++
		c.counts.images[image]++
		c.pods[uid] = image
	}
}

func (c *podCount) poke() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *podCount) now() counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return counts{c.counts.all, c.counts.ready, maps.Clone(c.counts.images)}
}

// await returns when the Pods are as done says.
func (c *podCount) await(ctx context.Context, done func(counts) bool) error {
	end := time.After(scaleTime)
	for {
		now := c.now()
		if done(now) {
			return nil
		}
		select {
		case <-c.changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return fmt.Errorf("after %s there are %d Pods, %d of them Ready %v", scaleTime, now.all, now.ready, now.images)
		}
	}
}

// fewFields keeps of a Pod what is counted.
func fewFields(obj any) (any, error) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace, UID: p.UID, ResourceVersion: p.ResourceVersion},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Image: p.Spec.Containers[0].Image}}},
		Status:     corev1.PodStatus{Conditions: p.Status.Conditions},
	}, nil
}

// writes reads how many requests the API server has answered that change something, by verb and resource.
func (p *controlPlane) writes(ctx context.Context) (map[string]int64, error) {
	c, err := p.client("application/json")
	if err != nil {
		return nil, err
	}
	body, err := c.Discovery().RESTClient().Get().AbsPath("/metrics").Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return writesIn(body)
}

// writesIn finds them in the server's metrics.
func writesIn(body io.Reader) (map[string]int64, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(body)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, m := range families["apiserver_request_total"].GetMetric() {
		switch verb := label(m, "verb"); verb {
		case "POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION":
			name := label(m, "resource")
			if sub := label(m, "subresource"); sub != "" {
				name += "/" + sub
			}
			if name == "leases" || name == "configmaps" {
				continue // the nodes' heartbeats and the probe's own: they are there without Pods
			}
			out[verb+" "+name+" "+label(m, "code")] += int64(m.GetCounter().GetValue())
		}
	}
	return out, nil
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// sortedBySize gives the keys whose count grew, the largest first.
func sortedBySize(now, was map[string]int64) []string {
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(now)), func(k string) bool { return now[k] == was[k] })
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(now[b]-was[b], now[a]-was[a]) })
	return keys
}
