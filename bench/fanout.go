package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

const (
	watchers = 1_000
	// changes per second, and how many there are in all, of which each concerns one watcher.
	changeRate = 100
	changes    = 1_000
	// broadcasts concern every watcher.
	broadcasts      = 10
	fanOutNamespace = "bench-watch"
)

// benchFanOut takes the time from a write to the watcher that sees it: with 1,000 watchers of which each wants the Pods of another node, and with 1,000 that all
// want the same one.
func benchFanOut(ctx context.Context, p *controlPlane, out io.Writer) error {
	k, err := p.client(runtime.ContentTypeProtobuf)
	if err != nil {
		return err
	}
	if err := createNamespace(ctx, k, fanOutNamespace); err != nil {
		return err
	}
	f := fanOut{kube: k, seen: make(chan time.Duration, watchers*broadcasts), epoch: time.Now()}
	// The nodes do not exist: Pods of such are left alone for 40 seconds.
	for i := range watchers {
		pod := samplePod(i)
		pod.Spec.NodeName = nodeName(i)
		if _, err := k.CoreV1().Pods(fanOutNamespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	each, err := f.run(ctx, "each change for one of 1,000 watchers, 100/s", changes, time.Second/changeRate, 1, func(i int) int { return i % watchers })
	if err != nil {
		return err
	}
	all, err := f.run(ctx, "each change for all 1,000 watchers, 2/s", broadcasts, time.Second/2, watchers, func(int) int { return 0 })
	if err != nil {
		return err
	}
	if err := deleteAll(ctx, k, fanOutNamespace); err != nil {
		return err
	}
	return table(out, "watches by spec.nodeName: from a write's begin to the watcher's event (the trial: median 4 ms, p99 14 ms, for the first)", []figure{each, all})
}

func deleteAll(ctx context.Context, k kubernetes.Interface, namespace string) error {
	now := int64(0)
	return k.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{})
}

func nodeName(i int) string { return fmt.Sprint("node-", i) }

type fanOut struct {
	kube kubernetes.Interface
	// seen takes how long each event took.
	seen chan time.Duration
	// begun says when each change of all runs began, as nanoseconds since epoch; a Pod's label has its index.
	begun [changes + broadcasts]atomic.Int64
	epoch time.Time
	next  int
}

// run makes n changes, of which each is seen by want watchers; of says whose Pod the i-th changes.
func (f *fanOut) run(ctx context.Context, name string, n int, every time.Duration, want int, of func(i int) int) (figure, error) {
	result := figure{name: name}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	pods := f.kube.CoreV1().Pods(fanOutNamespace)
	now, err := pods.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return result, err
	}
	first := f.next
	f.next += n
	for w := range watchers {
		// With one watcher for each change they differ; otherwise all want what the first wants.
		node := nodeName(w)
		if want == watchers {
			node = nodeName(of(0))
		}
		events, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node, ResourceVersion: now.ResourceVersion})
		if err != nil {
			return result, fmt.Errorf("watcher %d: %w", w, err)
		}
		watching.Go(func() {
			defer events.Stop()
			for e := range events.ResultChan() {
				at := time.Now()
				pod, ok := e.Object.(*corev1.Pod)
				if !ok || e.Type != watch.Modified {
					continue
				}
				if i, err := strconv.Atoi(pod.Labels["change"]); err == nil && i >= first {
					f.seen <- at.Sub(f.epoch) - time.Duration(f.begun[i].Load())
				}
			}
		})
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range n {
		<-tick.C
		f.begun[first+i].Store(int64(time.Since(f.epoch)))
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"change":"%d"}}}`, first+i)
		if _, err := pods.Patch(ctx, podName(of(i)), types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return result, err
		}
	}
	for len(result.times) < n*want {
		select {
		case d := <-f.seen:
			result.times = append(result.times, d)
		case <-ctx.Done():
			return result, fmt.Errorf("%s: %d of %d events seen", name, len(result.times), n*want)
		}
	}
	return result, nil
}
