package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// podWatch is a watch of a namespace's Pods that goes on where it was when the API server ends it, as it may at any time and as clients' informers do.
// That it had to is printed, with what the server says of it.
type podWatch struct {
	events chan watch.Event
	cancel context.CancelFunc
	done   sync.WaitGroup
}

var _ watch.Interface = (*podWatch)(nil)

func watchPods(ctx context.Context, kube kubernetes.Interface, namespace string, out io.Writer) (*podWatch, error) {
	now, err := kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, err
	}
	at := now.ResourceVersion
	in, err := kube.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: at})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &podWatch{events: make(chan watch.Event), cancel: cancel}
	w.done.Go(func() {
		defer close(w.events)
		for ctx.Err() == nil {
			at = w.pass(ctx, in, at)
			if ctx.Err() != nil {
				return
			}
			fmt.Fprintf(out, "the watch of Pods ended at revision %s and is begun again; the API server says:\n%s", at, endings(ctx, kube))
			if in, err = kube.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: at}); err != nil {
				fmt.Fprintf(out, "and it cannot be: %v\n", err)
				return
			}
		}
	})
	return w, nil
}

// pass hands on what a watch shows until it ends, and gives the revision that it had come to.
func (w *podWatch) pass(ctx context.Context, in watch.Interface, at string) string {
	defer in.Stop()
	for e := range in.ResultChan() {
		if p, ok := e.Object.(*corev1.Pod); ok {
			at = p.ResourceVersion
		}
		select {
		case w.events <- e:
		case <-ctx.Done():
			return at
		}
	}
	return at
}

// ResultChan implements watch.Interface.
func (w *podWatch) ResultChan() <-chan watch.Event { return w.events }

// Stop implements watch.Interface.
func (w *podWatch) Stop() {
	w.cancel()
	w.done.Wait()
}

// endings are the API server's counts of why watches ended: cut off for they were too slow, or ended with their cache.
func endings(ctx context.Context, kube kubernetes.Interface) string {
	text, err := kube.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return err.Error() + "\n"
	}
	lines := slices.DeleteFunc(strings.SplitAfter(string(text), "\n"), func(line string) bool {
		return !strings.HasPrefix(line, "apiserver_terminated_watchers_total") &&
			!(strings.HasPrefix(line, "apiserver_watch_cache_initializations_total") && strings.Contains(line, `resource="pods"`))
	})
	return strings.Join(lines, "")
}
