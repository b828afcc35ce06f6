package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

const (
	// stored is how many Pods the figures speak of.
	stored = 10_000
	// rounds is how often each rate is taken; the table shows the median.
	rounds  = 10
	clients = 32
	// alone is how many calls of each kind a single client makes in a round.
	alone = 50
	lists = 5
)

// benchAPI takes what the API does per second, and what it holds in memory, with 10,000 Pods that no node and no scheduler touches: each is meant for a
// scheduler that does not exist.
func benchAPI(ctx context.Context, bin, dir, peers string, out io.Writer) (err error) {
	var seen map[string]float64
	if peers != "" {
		if seen, err = benchPeer(ctx, peers, dir, out); err != nil {
			return fmt.Errorf("the peer: %w", err)
		}
	}
	data := filepath.Join(dir, "api")
	p, err := startControlPlane(ctx, bin, data)
	if err != nil {
		return err
	}
	defer func() {
		if p != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	if err := p.rest(ctx, out, "idle"); err != nil {
		return err
	}
	load, err := newLoad(ctx, p)
	if err != nil {
		return err
	}
	var rates []rate
	for _, step := range []struct {
		name string
		call func(ctx context.Context, k kubernetes.Interface, i int) error
		seen reference
	}{
		{"creates", load.create, reference{909, 575}},
		{"status patches", load.patch, reference{583, 382}},
		{"gets", load.get, reference{2093, 1417}},
	} {
		r, err := p.measure(ctx, load.clients, step.call)
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		r.name, r.reference = step.name, step.seen
		rates = append(rates, r)
		if step.name == "status patches" {
			if err := p.memory(out, fmt.Sprintf("right after %d creates and %d status patches", stored, stored)); err != nil {
				return err
			}
		}
	}
	single, err := load.single(ctx)
	if err != nil {
		return err
	}
	speed, err := yardstick()
	if err != nil {
		return err
	}
	fmt.Fprint(out, speed)
	rates = append(rates, single...)
	for i := range rates {
		rates[i].sameRun(seen)
	}
	if err := rateTable(out, rates); err != nil {
		return err
	}
	if err := benchLists(ctx, p, out); err != nil {
		return err
	}
	if err := benchFanOut(ctx, p, out); err != nil {
		return err
	}
	// What is stored is known best from a process that has done nothing but read it.
	if err := p.stop(); err != nil {
		return err
	}
	if p, err = startControlPlane(ctx, bin, data); err != nil {
		return err
	}
	fmt.Fprintf(out, "start → /readyz with %d Pods stored: %s\n", stored, ms(p.took))
	return p.rest(ctx, out, fmt.Sprintf("%d Pods stored, after a restart", stored))
}

// load is what the clients do.
type load struct {
	clients []kubernetes.Interface
	pods    atomic.Int64
}

const loadNamespace = "bench-api"

func newLoad(ctx context.Context, p *controlPlane) (*load, error) {
	l, err := newClients(p)
	if err != nil {
		return nil, err
	}
	return l, createNamespace(ctx, l.clients[0], loadNamespace)
}

func newClients(p *controlPlane) (*load, error) {
	l := &load{}
	for range clients {
		k, err := p.client(runtime.ContentTypeProtobuf)
		if err != nil {
			return nil, err
		}
		l.clients = append(l.clients, k)
	}
	return l, nil
}

// createNamespace makes a namespace and waits until Pods can be made in it.
func createNamespace(ctx context.Context, k kubernetes.Interface, name string) error {
	if _, err := k.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	w, err := k.CoreV1().ServiceAccounts(name).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	select {
	case <-w.ResultChan():
		return nil
	case <-time.After(roundTime):
		return fmt.Errorf("namespace %s got no ServiceAccount in %s", name, roundTime)
	}
}

func podName(i int) string { return fmt.Sprintf("pod-%06d", i) }

// samplePod takes about 1 KB when it is stored.
func samplePod(i int) *corev1.Pod {
	grace := int64(5)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:        podName(i),
			Labels:      map[string]string{"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": fmt.Sprint("web-", i%100), "tier": "front"},
			Annotations: map[string]string{"example.com/owner": "the team that runs the shop", "example.com/commit": "4f2a9c1e7b3d5f60718293a4b5c6d7e8f9012345"},
		},
		Spec: corev1.PodSpec{
			SchedulerName: "nobody", TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "web", Image: image, Args: []string{"--listen=:8080", "--log-format=json"},
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				Env:   []corev1.EnvVar{{Name: "REGION", Value: "north"}, {Name: "LOG_LEVEL", Value: "info"}},
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
				},
			}},
		},
	}
}

func (l *load) create(ctx context.Context, k kubernetes.Interface, i int) error {
	_, err := k.CoreV1().Pods(loadNamespace).Create(ctx, samplePod(i), metav1.CreateOptions{})
	return err
}

// patch reports on a Pod as a node does.
func (l *load) patch(ctx context.Context, k kubernetes.Interface, i int) error {
	text := fmt.Sprintf(`{"status":{"phase":"Pending","hostIP":"192.0.2.1","conditions":[`+
		`{"type":"Initialized","status":"True","lastTransitionTime":"2026-01-02T03:04:05Z"},`+
		`{"type":"Ready","status":"False","reason":"ContainersNotReady","message":"round %d","lastTransitionTime":"2026-01-02T03:04:05Z"}]}}`, l.pods.Add(1))
	_, err := k.CoreV1().Pods(loadNamespace).Patch(ctx, podName(i), types.StrategicMergePatchType, []byte(text), metav1.PatchOptions{}, "status")
	return err
}

func (l *load) get(ctx context.Context, k kubernetes.Interface, i int) error {
	_, err := k.CoreV1().Pods(loadNamespace).Get(ctx, podName(i), metav1.GetOptions{})
	return err
}

// measure makes 10,000 calls by all clients together, in rounds; the n-th call is about the n-th Pod.
func (p *controlPlane) measure(ctx context.Context, by []kubernetes.Interface, call func(context.Context, kubernetes.Interface, int) error) (rate, error) {
	r := rate{clients: len(by)}
	before, err := p.processorTime()
	if err != nil {
		return r, err
	}
	for round := range rounds {
		start := time.Now()
		if err := together(by, round*stored/rounds, (round+1)*stored/rounds, func(k kubernetes.Interface, i int) error { return call(ctx, k, i) }); err != nil {
			return r, err
		}
		r.perSecond = append(r.perSecond, float64(stored/rounds)/time.Since(start).Seconds())
	}
	after, err := p.processorTime()
	r.processor = (after - before) / stored
	return r, err
}

// together has the clients share the calls from first up to but without end.
func together(by []kubernetes.Interface, first, end int, call func(kubernetes.Interface, int) error) error {
	var next atomic.Int64
	next.Store(int64(first))
	var wg sync.WaitGroup
	errs := make([]error, len(by))
	for n, k := range by {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= end || errs[n] != nil {
					return
				}
				errs[n] = call(k, i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// single takes the same rates of one client that waits for each answer.
func (l *load) single(ctx context.Context) ([]rate, error) {
	k := l.clients[0]
	rates := []rate{
		{name: "creates", reference: reference{upstream: 237}}, {name: "status patches", reference: reference{upstream: 188}}, {name: "gets", reference: reference{upstream: 488}},
	}
	for round := range rounds {
		for n, call := range []func(context.Context, kubernetes.Interface, int) error{l.create, l.patch, l.get} {
			start := time.Now()
			for i := range alone {
				if err := call(ctx, k, stored+round*alone+i); err != nil {
					return nil, err
				}
			}
			rates[n].clients = 1
			rates[n].perSecond = append(rates[n].perSecond, alone/time.Since(start).Seconds())
		}
	}
	// The Pods of this part are not among the 10,000 that are stored.
	return rates, together(l.clients, stored, stored+rounds*alone, func(k kubernetes.Interface, i int) error {
		now := int64(0)
		return k.CoreV1().Pods(loadNamespace).Delete(ctx, podName(i), metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
}

// benchLists takes a list of all Pods, the client's decoding included, and one of few by a field.
func benchLists(ctx context.Context, p *controlPlane, out io.Writer) error {
	var figures []figure
	for _, l := range []struct {
		name, contentType string
		options           metav1.ListOptions
		want              int
	}{
		{"10,000 Pods, protobuf", runtime.ContentTypeProtobuf, metav1.ListOptions{}, stored},
		{"10,000 Pods, JSON", runtime.ContentTypeJSON, metav1.ListOptions{}, stored},
		{"one of 10,000 by metadata.name", runtime.ContentTypeProtobuf, metav1.ListOptions{FieldSelector: "metadata.name=" + podName(42)}, 1},
		{"none of 10,000 by spec.nodeName", runtime.ContentTypeProtobuf, metav1.ListOptions{FieldSelector: "spec.nodeName=no-such-node"}, 0},
	} {
		k, err := p.client(l.contentType)
		if err != nil {
			return err
		}
		f := figure{name: l.name}
		for range lists {
			start := time.Now()
			got, err := k.CoreV1().Pods(loadNamespace).List(ctx, l.options)
			if err != nil {
				return err
			}
			f.times = append(f.times, time.Since(start))
			if len(got.Items) != l.want {
				return fmt.Errorf("list of %s: %d Pods, want %d", l.name, len(got.Items), l.want)
			}
		}
		figures = append(figures, f)
	}
	return table(out, "lists, the client's decoding included (a trial of the same library: 0.41 s protobuf, 1.4 s JSON, 13 ms by a field; kube-apiserver: 0.62 to 0.78 s)", figures)
}

// median of rates, which are taken in rounds of the same number of calls.
func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(of))[len(of)/2]
}
