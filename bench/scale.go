package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"

	"github.com/gitopsd/gitopsd/test/hollow"
)

const (
	// podsPerDeployment makes a hundred Deployments of 30,000 Pods.
	podsPerDeployment = 300
	// joiners is how many hollow nodes join at the same time.
	joiners = 32
	// rollReplicas is the size of the Deployment whose update is taken apart.
	rollReplicas = 500
	// scaleTime bounds each step of the scale figures; one that takes longer is an error, with how far it came.
	scaleTime = 20 * time.Minute
	probeEach = 20 * time.Millisecond
	// settleTime without a write, but of Leases, is rest.
	settleTime = 2 * time.Second
)

// benchScale takes what a control plane does with many nodes: hollow ones, which say everything to the API that real ones say.
func benchScale(ctx context.Context, bin, dir string, nodes, perNode int, out io.Writer) (err error) {
	data := filepath.Join(dir, "scale")
	p, err := startControlPlane(ctx, bin, data, "--cluster-cidr", "10.64.0.0/10")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	admin, err := p.client(runtime.ContentTypeProtobuf)
	if err != nil {
		return err
	}
	s := &scale{p: p, admin: admin, out: out}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	begin := time.Now()
	if err := s.join(ctx, &wg, data, filepath.Join(dir, "hollow"), nodes); err != nil {
		return err
	}
	used, err := p.processorTime()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d hollow nodes joined and Ready after %s (%.1f ms of processor time for each)\n", nodes, time.Since(begin).Round(time.Millisecond), perItem(used, nodes))
	if err := s.printWrites(ctx, map[string]int64{}, nodes); err != nil {
		return err
	}
	if err := p.rest(ctx, out, fmt.Sprintf("%d nodes at rest", nodes)); err != nil {
		return err
	}
	if err := s.grow(ctx, nodes*perNode); err != nil {
		return err
	}
	if err := s.roll(ctx); err != nil {
		return err
	}
	return p.rest(ctx, out, "at rest, with all of it stored")
}

type scale struct {
	p     *controlPlane
	admin kubernetes.Interface
	out   io.Writer
	pods  *podCount
}

// join starts the hollow nodes and returns when all are Ready.
func (s *scale) join(ctx context.Context, wg *sync.WaitGroup, data, dir string, count int) error {
	token, err := joinToken(ctx, data)
	if err != nil {
		return err
	}
	byName := make(map[string]*hollow.Node, count)
	var mu sync.Mutex
	ready := make(chan struct{})
	there := map[string]bool{}
	f := informers.NewSharedInformerFactoryWithOptions(s.admin, 0, informers.WithTransform(fewFields))
	see := func(obj any) {
		n := obj.(*corev1.Node)
		mu.Lock()
		defer mu.Unlock()
		if h := byName[n.Name]; h != nil {
			h.Assigned()
		}
		if !there[n.Name] && nodeReady(n) {
			if there[n.Name] = true; len(there) == count {
				close(ready)
			}
		}
	}
	if _, err := f.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: see, UpdateFunc: func(_, n any) { see(n) }}); err != nil {
		return err
	}
	s.pods = newPodCount()
	if _, err := f.Core().V1().Pods().Informer().AddEventHandler(s.pods); err != nil {
		return err
	}
	lister := f.Core().V1().Nodes().Lister()
	f.Start(ctx.Done())
	wg.Go(func() { <-ctx.Done(); f.Shutdown() })

	names := make(chan string)
	failed := make(chan error, joiners)
	for range joiners {
		wg.Go(func() {
			for name := range names {
				n, err := hollow.Join(ctx, hollow.Options{Server: s.p.config.Host, Token: token, Dir: dir, Name: name, Nodes: lister})
				if err != nil {
					failed <- err
					return
				}
				mu.Lock()
				byName[name] = n
				mu.Unlock()
				wg.Go(func() {
					if err := n.Run(ctx); err != nil {
						select {
						case failed <- err:
						default:
						}
					}
				})
			}
		})
	}
	wg.Go(func() {
		defer close(names)
		for i := range count {
			select {
			case names <- fmt.Sprintf("hollow-%04d", i):
			case <-ctx.Done():
				return
			}
		}
	})
	select {
	case <-ready:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(scaleTime):
		mu.Lock()
		defer mu.Unlock()
		return fmt.Errorf("%d of %d hollow nodes are Ready after %s", len(there), count, scaleTime)
	}
}

// joinToken reads the token that the control plane writes once its API answers.
func joinToken(ctx context.Context, data string) (string, error) {
	for end := time.Now().Add(roundTime); ; time.Sleep(10 * time.Millisecond) { // the file comes milliseconds after the API is ready
		token, err := os.ReadFile(filepath.Join(data, "node-token"))
		if err == nil {
			return strings.TrimSpace(string(token)), nil
		}
		if !errors.Is(err, os.ErrNotExist) || ctx.Err() != nil || time.Now().After(end) {
			return "", err
		}
	}
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue && len(n.Spec.PodCIDRs) > 0
		}
	}
	return false
}

// grow makes Deployments in steps up to so many Pods in all, and shows what a Pod costs in each.
func (s *scale) grow(ctx context.Context, all int) error {
	w := tabwriter.NewWriter(s.out, 12, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "Pods\tall running after\tPods/s\tprocessor time per Pod\thollow nodes'\twrites per Pod\tGET p50\tp99\tPATCH p50\tp99\tfailed\tresident, largest\t")
	for have := 0; have < all; {
		to := nextStep(have, all)
		l, err := s.measure(ctx, func() error {
			for ; have < to; have += min(podsPerDeployment, to-have) {
				d := deployment(fmt.Sprintf("scale-%05d", have), int32(min(podsPerDeployment, to-have)))
				if err := s.create(ctx, d); err != nil {
					return err
				}
			}
			return s.pods.await(ctx, func(c counts) bool { return c.ready == to })
		})
		if err != nil {
			return err
		}
		n := to - l.before.ready
		fmt.Fprintf(w, "%d\t%.1f s\t%.0f\t%.2f ms\t%.2f ms\t%.1f\t%s\t%s\t%s\t%s\t%d\t%d MB\t\n", to, l.took.Seconds(), float64(n)/l.took.Seconds(), perItem(l.used, n), perItem(l.hollow, n), float64(l.writes)/float64(n),
			ms(l.gets.percentile(50)), ms(l.gets.percentile(99)), ms(l.patches.percentile(50)), ms(l.patches.percentile(99)), l.failed, l.largest>>10)
		// What was measured is shown at once: the next step may be the one that takes too long.
		if err := w.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(s.out)
	return err
}

// nextStep goes by 1,000, 10,000, and then 10,000 more each time.
func nextStep(have, all int) int {
	for _, s := range []int{1_000, 10_000} {
		if have < s {
			return min(s, all)
		}
	}
	return min(have+10_000, all)
}

// roll changes the image of one Deployment and shows how long its rolling update takes and which writes it needs.
func (s *scale) roll(ctx context.Context) error {
	before := s.pods.now()
	d := deployment("roll", rollReplicas)
	if err := s.create(ctx, d); err != nil {
		return err
	}
	if err := s.pods.await(ctx, func(c counts) bool { return c.ready == before.ready+rollReplicas }); err != nil {
		return err
	}
	if err := s.settled(ctx); err != nil {
		return err
	}
	const image = "hollow.example/web:2"
	was, err := s.p.writes(ctx)
	if err != nil {
		return err
	}
	l, err := s.measure(ctx, func() error {
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			_, err := s.admin.AppsV1().Deployments(corev1.NamespaceDefault).Patch(ctx, d.Name, types.StrategicMergePatchType,
				[]byte(`{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"`+image+`"}]}}}}`), metav1.PatchOptions{})
			return err
		})
		if err != nil {
			return err
		}
		return s.pods.await(ctx, func(c counts) bool { return c.images[image] == rollReplicas && c.all == before.all+rollReplicas })
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "rolling update of %d replicas (25%% surge, 25%% unavailable): %.1f s, %.2f ms of processor time and %.1f writes per Pod:\n", rollReplicas, l.took.Seconds(),
		perItem(l.used, rollReplicas), float64(l.writes)/rollReplicas)
	return s.printWrites(ctx, was, rollReplicas)
}

// create creates a Deployment, and tries again where the API is too busy to say what became of it.
func (s *scale) create(ctx context.Context, d *appsv1.Deployment) error {
	err := retry.OnError(retry.DefaultBackoff, overloaded, func() error {
		_, err := s.admin.AppsV1().Deployments(corev1.NamespaceDefault).Create(ctx, d, metav1.CreateOptions{})
		return err
	})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// overloaded tells whether an answer says that there is too much to do, as etcd's deadlines do when they pass.
func overloaded(err error) bool {
	return apierrors.IsInternalError(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) || strings.Contains(fmt.Sprint(err), "etcdserver: request timed out")
}

// printWrites shows how often what was written since, for each of n items.
func (s *scale) printWrites(ctx context.Context, was map[string]int64, n int) error {
	now, err := s.p.writes(ctx)
	if err != nil {
		return err
	}
	for _, k := range sortedBySize(now, was) {
		if each := float64(now[k]-was[k]) / float64(n); each >= 0.005 {
			fmt.Fprintf(s.out, "  %6.2f  %s\n", each, k)
		}
	}
	_, err = fmt.Fprintln(s.out)
	return err
}

// settled waits until nothing has been written for a while: Events are written one after the other, and come late after a burst. What a step costs is to be its own.
func (s *scale) settled(ctx context.Context) error {
	for last := int64(-1); ; {
		writes, err := s.p.writes(ctx)
		if err != nil {
			return err
		}
		sum := int64(0)
		for k, n := range writes {
			if !strings.Contains(k, "leases") {
				sum += n
			}
		}
		if sum == last {
			return nil
		}
		last = sum
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settleTime):
		}
	}
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "hollow.example/web:1", Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
				}}}},
			},
		},
	}
}

// stepLoad is what a step took, and how the API answered others meanwhile.
type stepLoad struct {
	before        counts
	took, used    time.Duration
	hollow        time.Duration // processor time of this process: the hollow nodes, and what watches them
	writes        int64
	gets, patches figure
	failed        int // of these, because there was too much to do
	largest       int // KiB
}

// measure runs a step while a client of its own asks the API for something every few milliseconds.
func (s *scale) measure(ctx context.Context, step func() error) (l stepLoad, err error) {
	l.before = s.pods.now()
	used, err := s.p.processorTime()
	if err != nil {
		return l, err
	}
	own, err := processorTime(os.Getpid())
	if err != nil {
		return l, err
	}
	writes, err := s.p.writes(ctx)
	if err != nil {
		return l, err
	}
	probe, err := s.p.client(runtime.ContentTypeProtobuf)
	if err != nil {
		return l, err
	}
	var stop atomic.Bool
	probed := make(chan error, 1)
	go func() { probed <- s.probe(ctx, probe, &l, &stop) }()
	begin := time.Now()
	err = step()
	l.took = time.Since(begin)
	stop.Store(true)
	if err = errors.Join(err, <-probed); err != nil {
		return l, err
	}
	now, err := s.p.processorTime()
	if err != nil {
		return l, err
	}
	l.used = now - used
	if now, err = processorTime(os.Getpid()); err != nil {
		return l, err
	}
	l.hollow = now - own
	after, err := s.p.writes(ctx)
	if err != nil {
		return l, err
	}
	for k, n := range after {
		l.writes += n - writes[k]
	}
	return l, nil
}

func (s *scale) probe(ctx context.Context, c kubernetes.Interface, l *stepLoad, stop *atomic.Bool) error {
	maps := c.CoreV1().ConfigMaps(corev1.NamespaceDefault)
	const name = "probe"
	if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	tick := time.NewTicker(probeEach)
	defer tick.Stop()
	for i := 0; !stop.Load(); i++ {
		begin := time.Now()
		if _, err := maps.Get(ctx, name, metav1.GetOptions{}); overloaded(err) {
			l.failed++
		} else if err != nil {
			return err
		}
		l.gets.times = append(l.gets.times, time.Since(begin))
		begin = time.Now()
		if _, err := maps.Patch(ctx, name, types.MergePatchType, fmt.Appendf(nil, `{"data":{"i":"%d"}}`, i), metav1.PatchOptions{}); overloaded(err) {
			l.failed++
		} else if err != nil {
			return err
		}
		l.patches.times = append(l.patches.times, time.Since(begin))
		rss, _, err := memory(s.p.cmd.Process.Pid)
		if err != nil {
			return err
		}
		l.largest = max(l.largest, rss)
		<-tick.C
	}
	return nil
}

func perItem(d time.Duration, n int) float64 { return float64(d.Microseconds()) / 1000 / float64(n) }
