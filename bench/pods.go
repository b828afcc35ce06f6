package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/kubelet/trace"
	"github.com/gitopsd/gitopsd/test/cluster"
)

const (
	podRounds   = 50
	podsAtOnce  = 30
	replicas    = 100
	podsAtRest  = 110 // as many as a node takes
	restSettles = 30 * time.Second
	restMeasure = 60 * time.Second
)

// podBench takes figures of Pods on the cluster's one node.
type podBench struct {
	c    *cluster.Cluster
	kube kubernetes.Interface
	w    watch.Interface
	node string
	ns   string
	out  io.Writer
}

// benchPods takes the time from a Pod's creation to Ready, one at a time on an idle node, with where it goes, and many at once; and what a full node costs at rest.
func benchPods(ctx context.Context, c *cluster.Cluster, out io.Writer) error {
	kube, err := c.Client()
	if err != nil {
		return err
	}
	b := &podBench{c: c, kube: kube, node: c.Workers()[0].Name, ns: "bench-pods", out: out}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: b.ns}}
	if _, err := kube.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if b.w, err = watchPods(ctx, kube, b.ns, out); err != nil {
		return err
	}
	defer b.w.Stop()
	single, err := b.oneAtATime(ctx)
	if err != nil {
		return err
	}
	together, err := b.atOnce(ctx)
	if err != nil {
		return err
	}
	deployment, err := b.deployment(ctx)
	if err != nil {
		return err
	}
	if err := table(out, "Pod created to Ready", []figure{single, together, deployment}); err != nil {
		return err
	}
	return b.atRest(ctx)
}

func (b *podBench) oneAtATime(ctx context.Context) (figure, error) {
	f := figure{name: fmt.Sprintf("one at a time, %d", podRounds)}
	created, seen := map[string]time.Time{}, map[string]time.Time{}
	for i := range podRounds {
		name := fmt.Sprint("single-", i)
		start := time.Now()
		if err := createPod(ctx, b.kube, b.ns, name); err != nil {
			return f, err
		}
		if err := awaitPods(ctx, b.w, 1, func(p *corev1.Pod, deleted bool) bool { return !deleted && p.Name == name && podReady(p) }, func(*corev1.Pod) {}); err != nil {
			return f, err
		}
		created[name], seen[name] = start, time.Now()
		f.times = append(f.times, seen[name].Sub(start))
		if err := deletePods(ctx, b.kube, b.w, b.ns, 1, name); err != nil {
			return f, err
		}
	}
	return f, b.where(ctx, created, seen)
}

// where prints what the times of single Pods were spent on, by the node's own account.
func (b *podBench) where(ctx context.Context, created, seen map[string]time.Time) error {
	text, err := b.kube.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes", b.node, "proxy/debug/starts").DoRaw(ctx)
	if err != nil {
		return err
	}
	var starts []trace.Report
	if err := json.Unmarshal(text, &starts); err != nil {
		return err
	}
	type part struct{ at, took figure }
	parts := map[string]*part{}
	note := func(name string, at, took time.Duration) {
		p := parts[name]
		if p == nil {
			p = &part{}
			parts[name] = p
		}
		p.at.times, p.took.times = append(p.at.times, at), append(p.took.times, took)
	}
	ms := func(f float64) time.Duration { return time.Duration(f * float64(time.Millisecond)) }
	for _, s := range starts {
		began, ok := created[s.Name]
		if s.Namespace != b.ns || !ok {
			continue
		}
		told := s.Began.Sub(began)
		note("created, bound, told to the node", 0, told)
		for _, p := range s.Parts {
			note(p.Name, told+ms(p.At), ms(p.Took))
		}
		ready := told + ms(s.Ready)
		note("status written, and seen", ready, seen[s.Name].Sub(began)-ready)
	}
	fmt.Fprintln(b.out, "Where the time of one Pod goes, medians; parts overlap")
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tbegins after\ttakes\tp99\t")
	names := slices.SortedFunc(maps.Keys(parts), func(x, y string) int {
		return cmp.Or(cmp.Compare(parts[x].at.percentile(50), parts[y].at.percentile(50)), cmp.Compare(x, y))
	})
	tenth := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
	for _, name := range names {
		p := parts[name]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\n", name, tenth(p.at.percentile(50)), tenth(p.took.percentile(50)), tenth(p.took.percentile(99)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(b.out)
	return err
}

func (b *podBench) atOnce(ctx context.Context) (figure, error) {
	f := figure{name: fmt.Sprint(podsAtOnce, " at once")}
	start := time.Now()
	for i := range podsAtOnce {
		if err := createPod(ctx, b.kube, b.ns, fmt.Sprint("together-", i)); err != nil {
			return f, err
		}
	}
	if err := awaitPods(ctx, b.w, podsAtOnce, func(p *corev1.Pod, deleted bool) bool { return !deleted && podReady(p) },
		func(*corev1.Pod) { f.times = append(f.times, time.Since(start)) }); err != nil {
		return f, err
	}
	if err := b.kube.CoreV1().Pods(b.ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return f, err
	}
	return f, awaitPods(ctx, b.w, podsAtOnce, func(_ *corev1.Pod, deleted bool) bool { return deleted }, func(*corev1.Pod) {})
}

func (b *podBench) deployment(ctx context.Context) (figure, error) {
	f := figure{name: fmt.Sprintf("Deployment of %d", replicas)}
	n, grace, labels := int32(replicas), int64(1), map[string]string{"app": "many"}
	start := time.Now()
	if _, err := b.kube.AppsV1().Deployments(b.ns).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "many"},
		Spec: appsv1.DeploymentSpec{Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{{Name: "web", Image: image}}},
		}},
	}, metav1.CreateOptions{}); err != nil {
		return f, err
	}
	return f, awaitPods(ctx, b.w, replicas, func(p *corev1.Pod, deleted bool) bool { return !deleted && podReady(p) },
		func(*corev1.Pod) { f.times = append(f.times, time.Since(start)) })
}

// atRest fills the node, and prints what that costs while nothing happens.
func (b *podBench) atRest(ctx context.Context) error {
	all, err := b.kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + b.node})
	if err != nil {
		return err
	}
	more := podsAtRest - len(all.Items)
	for i := range more {
		if err := createPod(ctx, b.kube, b.ns, fmt.Sprint("rest-", i)); err != nil {
			return err
		}
	}
	if err := awaitPods(ctx, b.w, more, func(p *corev1.Pod, deleted bool) bool {
		return !deleted && strings.HasPrefix(p.Name, "rest-") && podReady(p)
	}, func(*corev1.Pod) {}); err != nil {
		return err
	}
	pid, err := b.c.PID(cluster.Node + "/" + b.node)
	if err != nil {
		return err
	}
	var used [2]time.Duration
	for i, wait := range []time.Duration{restSettles, restMeasure} {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		if used[i], err = processorTime(pid); err != nil {
			return err
		}
	}
	rss, anon, err := memory(pid)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%d Pods at rest\n  node daemon: %d MB resident, of which %d MB anonymous; %.1f%% of a core over %s\n",
		podsAtRest, rss>>10, anon>>10, 100*(used[1]-used[0]).Seconds()/restMeasure.Seconds(), restMeasure)
	return b.perPod()
}

// perPod prints what a Pod costs beside its own processes.
func (b *podBench) perPod() error {
	list, err := b.c.ProcessesOn(b.node)
	if err != nil {
		return err
	}
	type sum struct{ n, rss, pss int }
	by := map[string]*sum{}
	for _, p := range list {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID))
		if err != nil {
			continue // it has ended
		}
		rss, pss, err := shared(p.PID)
		if err != nil {
			continue
		}
		s := by[strings.TrimSpace(string(name))]
		if s == nil {
			s = &sum{}
			by[strings.TrimSpace(string(name))] = s
		}
		s.n, s.rss, s.pss = s.n+1, s.rss+rss, s.pss+pss
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		s := by[name]
		fmt.Fprintf(b.out, "  %-16s %3d processes, %.1f MB resident and %.1f MB proportional each; %.1f MB proportional for each Pod\n",
			name, s.n, float64(s.rss)/float64(s.n)/1024, float64(s.pss)/float64(s.n)/1024, float64(s.pss)/podsAtRest/1024)
	}
	_, err = fmt.Fprintln(b.out)
	return err
}

// shared returns the resident and the proportional memory of a process in KiB: of pages that processes share, each is counted a part.
func shared(pid int) (rss, pss int, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "smaps_rollup"))
	for line := range strings.Lines(string(text)) {
		for prefix, to := range map[string]*int{"Rss:": &rss, "Pss:": &pss} {
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				if _, err := fmt.Sscan(rest, to); err != nil {
					return 0, 0, err
				}
			}
		}
	}
	return rss, pss, err
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
			if e.Type == watch.Error {
				return fmt.Errorf("the watch of Pods: %w", apierrors.FromObject(e.Object))
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
