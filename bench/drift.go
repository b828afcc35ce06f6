package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/client"
)

// drifts is how often somebody changes something. Each change is to an object of its own, since one that is changed again and again is reverted ever later.
const drifts = 30

const drifting = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web-%d}
spec:
  replicas: 0
  selector: {matchLabels: {app: web-%[1]d}}
  template:
    metadata: {labels: {app: web-%[1]d}}
    spec: {containers: [{name: web, image: web:1}]}
---
`

// benchDrift takes the time from a change of an object that came from Git until the Application's status tells it, and until it is undone, as a client's watch
// sees both. The clock runs from before the request that changes it.
func benchDrift(ctx context.Context, bin, dir string, out io.Writer) (err error) {
	repo := filepath.Join(dir, "drift-repo")
	for _, policy := range []v1alpha1.DriftPolicy{v1alpha1.DriftReport, v1alpha1.DriftRevert} {
		folder := filepath.Join(repo, string(policy))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		text := fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: drift-%s}\n---\n", policy)
		for i := range drifts {
			text += fmt.Sprintf(drifting, i)
		}
		if err := os.WriteFile(filepath.Join(folder, "web.yaml"), []byte(strings.TrimSuffix(text, "---\n")), 0o644); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"commit", "-q", "-m", "all"}} {
		if err := git(ctx, repo, args...); err != nil {
			return err
		}
	}
	p, err := startControlPlane(ctx, bin, filepath.Join(dir, "drift"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	seen, err := driftRounds(ctx, p, repo, v1alpha1.DriftReport)
	if err != nil {
		return err
	}
	reverted, err := driftRounds(ctx, p, repo, v1alpha1.DriftRevert)
	if err != nil {
		return err
	}
	return table(out, fmt.Sprintf("drift: time since the change, %d changes", drifts), []figure{{"change → in the status", seen}, {"change → reverted", reverted}})
}

func driftRounds(ctx context.Context, p *controlPlane, repo string, policy v1alpha1.DriftPolicy) ([]time.Duration, error) {
	namespace := "drift-" + string(policy)
	clients, err := client.New(p.config)
	if err != nil {
		return nil, err
	}
	kube, err := p.client(runtime.ContentTypeProtobuf)
	if err != nil {
		return nil, err
	}
	apps := clients.In("gitopsd-system")
	app := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: namespace, Namespace: "gitopsd-system"},
		Spec: v1alpha1.ApplicationSpec{
			Source:          v1alpha1.Source{RepoURL: "file://" + repo, Path: string(policy)},
			TargetNamespace: namespace, Drift: policy, Interval: &metav1.Duration{Duration: time.Hour},
		},
	}
	if _, err := apps.Create(ctx, app, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	statuses, err := apps.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + namespace})
	if err != nil {
		return nil, err
	}
	defer statuses.Stop()
	if err := await(ctx, statuses, func(a *v1alpha1.Application) bool { return a.Status.Sync == "Synced" }); err != nil {
		return nil, fmt.Errorf("the first sync of %s: %w", namespace, err)
	}
	deployments, err := kube.AppsV1().Deployments(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	defer deployments.Stop()
	var times []time.Duration
	for i := range drifts {
		name := fmt.Sprintf("web-%d", i)
		start := time.Now()
		changed, err := kube.AppsV1().Deployments(namespace).Patch(ctx, name, types.StrategicMergePatchType,
			[]byte(`{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:2"}]}}}}`), metav1.PatchOptions{FieldManager: "bench"})
		if err != nil {
			return nil, err
		}
		if policy == v1alpha1.DriftReport {
			err = await(ctx, statuses, func(a *v1alpha1.Application) bool { return len(a.Status.Drift) == i+1 })
		} else {
			err = await(ctx, deployments, func(d *appsv1.Deployment) bool {
				return d.Name == name && d.Generation > changed.Generation && d.Spec.Template.Spec.Containers[0].Image == "web:1"
			})
		}
		if err != nil {
			return nil, fmt.Errorf("change %d of %s: %w", i, namespace, err)
		}
		times = append(times, time.Since(start))
	}
	return times, nil
}

// await reads a watch until an object satisfies the condition.
func await[T runtime.Object](ctx context.Context, w watch.Interface, cond func(T) bool) error {
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	for {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				return errors.New("the watch ended")
			}
			if obj, ok := e.Object.(T); ok && e.Type != watch.Deleted && cond(obj) {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("not seen within %s", roundTime)
		}
	}
}
