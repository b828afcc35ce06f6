package main

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/test/cluster"
)

const podRounds = 50

// benchPods takes the time from a Pod's creation to Ready: one at a time on an idle node, then all at once.
func benchPods(ctx context.Context, c *cluster.Cluster, out io.Writer) error {
	kube, err := c.Client()
	if err != nil {
		return err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "bench-pods"}}
	if _, err := kube.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	w, err := kube.CoreV1().Pods(ns.Name).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()

	single := figure{name: "one at a time"}
	for i := range podRounds {
		name := fmt.Sprint("single-", i)
		start := time.Now()
		if err := createPod(ctx, kube, ns.Name, name); err != nil {
			return err
		}
		if err := awaitPods(ctx, w, 1, func(p *corev1.Pod, deleted bool) bool { return !deleted && p.Name == name && podReady(p) },
			func(*corev1.Pod) { single.times = append(single.times, time.Since(start)) }); err != nil {
			return err
		}
		if err := deletePods(ctx, kube, w, ns.Name, 1, name); err != nil {
			return err
		}
	}
	together := figure{name: fmt.Sprint(podRounds, " at once")}
	start := time.Now()
	for i := range podRounds {
		if err := createPod(ctx, kube, ns.Name, fmt.Sprint("together-", i)); err != nil {
			return err
		}
	}
	if err := awaitPods(ctx, w, podRounds, func(p *corev1.Pod, deleted bool) bool { return !deleted && podReady(p) },
		func(*corev1.Pod) { together.times = append(together.times, time.Since(start)) }); err != nil {
		return err
	}
	return table(out, fmt.Sprintf("Pod created to Ready, %d Pods", podRounds), []figure{single, together})
}

func createPod(ctx context.Context, kube kubernetes.Interface, namespace, name string) error {
	grace := int64(1)
	_, err := kube.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{{Name: "web", Image: image}}},
	}, metav1.CreateOptions{})
	return err
}

func deletePods(ctx context.Context, kube kubernetes.Interface, w watch.Interface, namespace string, n int, name string) error {
	if err := kube.CoreV1().Pods(namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return awaitPods(ctx, w, n, func(p *corev1.Pod, deleted bool) bool { return deleted && p.Name == name }, func(*corev1.Pod) {})
}

// awaitPods calls seen for each of the first n Pods that the watch shows as done.
func awaitPods(ctx context.Context, w watch.Interface, n int, done func(p *corev1.Pod, deleted bool) bool, seen func(*corev1.Pod)) error {
	ctx, cancel := context.WithTimeout(ctx, 2*roundTime)
	defer cancel()
	known := map[string]bool{}
	for len(known) < n {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				return fmt.Errorf("the watch of Pods ended")
			}
			if p, ok := e.Object.(*corev1.Pod); ok && done(p, e.Type == watch.Deleted) && !known[p.Name] {
				known[p.Name] = true
				seen(p)
			}
		case <-ctx.Done():
			return fmt.Errorf("%d of %d Pods in time", len(known), n)
		}
	}
	return nil
}
