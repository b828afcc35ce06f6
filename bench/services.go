package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/images"
	"github.com/gitopsd/gitopsd/test/netns"
)

// What the figures of Services are taken with.
const (
	servicePods     = 2
	servicePort     = 8080
	serviceCreators = 16
	serviceChanges  = 30
	serviceClients  = 16
	serviceRounds   = 3
	serviceRound    = 2 * time.Second
	// serviceSettling is how long the control plane may be busy with what was made.
	serviceSettling = 5 * time.Minute
	// serviceDial is how long a connection may take before it is tried anew: a Service without rules yet refuses or is silent.
	serviceDial = 20 * time.Millisecond
)

// serviceSizes are how many Services there are when figures are taken.
var serviceSizes = []int{10, 1000, 10000}

// serviceBench is a cluster of one node that gets more and more Services, all of them with the same two Pods.
type serviceBench struct {
	c      *cluster.Cluster
	k      kubernetes.Interface
	inside string   // the node's network namespace
	pods   []string // addresses
	made   atomic.Int64
	out    io.Writer
}

const (
	servicesNamespace = "bench"
	servicesApp       = "web"
)

// benchServices takes the times from a change at the API until packets flow, what that costs, and what connections cost, at different numbers of Services.
func benchServices(ctx context.Context, bin, dir string, out io.Writer) (err error) {
	b := &serviceBench{out: out}
	if b.c, err = cluster.Up(ctx, cluster.Options{Dir: filepath.Join(dir, "services"), Workers: 1, Bin: bin, Owned: true}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.c.Down()) }()
	if b.k, err = b.c.Client(); err != nil {
		return err
	}
	b.inside = netns.Path(b.c.Workers()[0].NetNS)
	if err := b.makePods(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "Services with %d endpoints each on one node, the control plane and all clients on the same cores\n", servicePods)
	var changes []figure
	var costs, connections []string
	for _, n := range serviceSizes {
		created, reached, err := b.grow(ctx, n)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %d Services in all: created after %s, the last one reachable after %s\n", n, created.Round(10*time.Millisecond), reached.Round(10*time.Millisecond))
		if err := b.settle(ctx); err != nil {
			return err
		}
		// An attempt before there are rules leaves a flow without translation in the kernel, which later connections from the same port would follow:
		// connections are measured at a Service that nobody tries before it is long there.
		quiet, err := b.create(ctx)
		if err != nil {
			return err
		}
		figures, cost, err := b.changes(ctx, n)
		if err != nil {
			return err
		}
		changes, costs = append(changes, figures...), append(costs, cost...)
		lines, err := b.connections(ctx, n, quiet)
		if err != nil {
			return err
		}
		connections = append(connections, lines...)
	}
	if err := b.first(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := table(out, fmt.Sprintf("from before the API is told until a connection goes the new way, %d changes", serviceChanges), changes); err != nil {
		return err
	}
	for _, part := range []struct {
		title, header string
		lines         []string
	}{
		{"sent to the kernel for one change", "\trules\tbytes\tit takes\t", costs},
		{fmt.Sprintf("connections by %d clients of the node, medians of %d rounds", serviceClients, serviceRounds), "\tper second\tmedian\tp99\t", connections},
	} {
		fmt.Fprintln(out, part.title)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(w, part.header)
		for _, line := range part.lines {
			fmt.Fprintln(w, line)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	return nil
}

// makePods starts the Pods behind all Services.
func (b *serviceBench) makePods(ctx context.Context) error {
	if _, err := b.k.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: servicesNamespace}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	for i := range servicePods {
		_, err := b.k.CoreV1().Pods(servicesNamespace).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("web-", i), Labels: map[string]string{"app": servicesApp}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: images.Web + ":v1"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
	}
	var err error
	b.pods, err = runningPods(ctx, b.k, servicesNamespace, servicePods)
	return err
}

// runningPods waits until the Pods of a namespace have started, and returns where they listen.
func runningPods(ctx context.Context, k kubernetes.Interface, namespace string, n int) (addresses []string, err error) {
	for deadline := time.Now().Add(roundTime); len(addresses) < n; {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, fmt.Errorf("%d Pods have started, want %d", len(addresses), n)
		}
		time.Sleep(50 * time.Millisecond)
		list, err := k.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		addresses = nil
		for i := range list.Items {
			if p := &list.Items[i].Status; p.PodIP != "" && p.Phase == corev1.PodRunning {
				addresses = append(addresses, net.JoinHostPort(p.PodIP, fmt.Sprint(servicePort)))
			}
		}
	}
	return addresses, nil
}

// create makes one more Service that selects the Pods, and returns where it is reached.
func (b *serviceBench) create(ctx context.Context) (string, error) {
	svc, err := b.k.CoreV1().Services(servicesNamespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("svc-", b.made.Add(1))},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": servicesApp}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(servicePort)}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(svc.Spec.ClusterIP, "80"), nil
}

// grow makes Services until there are n, and tells after what time all had been made, and all that are new been reached.
func (b *serviceBench) grow(ctx context.Context, n int) (created, reached time.Duration, err error) {
	began := time.Now()
	left := make(chan struct{}, n)
	for range n - int(b.made.Load()) {
		left <- struct{}{}
	}
	close(left)
	addresses, errs := make([][]string, serviceCreators), make([]error, serviceCreators)
	var wg sync.WaitGroup
	for i := range serviceCreators {
		wg.Go(func() {
			for range left {
				at, err := b.create(ctx)
				if err != nil {
					errs[i] = err
					return
				}
				addresses[i] = append(addresses[i], at)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, 0, err
	}
	created = time.Since(began)
	for _, at := range slices.Concat(addresses...) {
		if err := b.reach(ctx, at, nil); err != nil {
			return 0, 0, err
		}
	}
	return created, time.Since(began), nil
}

// settle waits until each Service has its Endpoints too, which are written after the slices by which it is reached.
func (b *serviceBench) settle(ctx context.Context) error {
	for deadline := time.Now().Add(serviceSettling); ; {
		raw, err := b.k.CoreV1().RESTClient().Get().Namespace(servicesNamespace).Resource("endpoints").Param("limit", "1").WarningHandler(rest.NoWarnings{}).DoRaw(ctx)
		if err != nil {
			return err
		}
		var list metav1.PartialObjectMetadataList
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
		there := int64(len(list.Items)) + ptr.Deref(list.RemainingItemCount, 0)
		if there >= b.made.Load() {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%d of %d Services have Endpoints after %s", there, b.made.Load(), serviceSettling)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// reach tries until a connection is made, or until its answer is as wanted.
func (b *serviceBench) reach(ctx context.Context, at string, want func(answer string) bool) error {
	return netns.Do(b.inside, func() error {
		for deadline := time.Now().Add(roundTime); ; {
			answer, err := connect(at, want != nil)
			if err == nil && (want == nil || want(answer)) {
				return nil
			}
			if time.Now().After(deadline) || ctx.Err() != nil {
				return fmt.Errorf("%s is not reached as it should: %q: %w", at, answer, err)
			}
		}
	})
}

// connect makes a connection, and if asked to reads the body that it gives.
func connect(at string, ask bool) (answer string, err error) {
	c, err := net.DialTimeout("tcp", at, serviceDial)
	if err != nil {
		return "", err
	}
	defer c.Close()
	// A connection that ends by RST leaves no port in TIME_WAIT, of which there are few.
	if err := c.(*net.TCPConn).SetLinger(0); err != nil || !ask {
		return "", err
	}
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return "", err
	}
	text, err := io.ReadAll(c)
	_, body, _ := strings.Cut(string(text), "\r\n\r\n")
	return body, err
}

// changes takes the times of new Services and of changed endpoints, and what each made the node send.
func (b *serviceBench) changes(ctx context.Context, n int) (times []figure, costs []string, err error) {
	flip, err := b.flipping(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	for _, step := range []struct {
		name   string
		change func() (at string, want func(string) bool, err error)
	}{
		{"a new Service", func() (string, func(string) bool, error) { at, err := b.create(ctx); return at, nil, err }},
		{"a changed endpoint", flip},
	} {
		f := figure{name: fmt.Sprintf("%s, beside %d", step.name, n)}
		before, err := b.written(ctx)
		if err != nil {
			return nil, nil, err
		}
		for range serviceChanges {
			began := time.Now()
			at, want, err := step.change()
			if err == nil {
				err = b.reach(ctx, at, want)
			}
			if err != nil {
				return nil, nil, err
			}
			f.times = append(f.times, time.Since(began))
		}
		after, err := b.written(ctx)
		if err != nil {
			return nil, nil, err
		}
		times = append(times, f)
		costs = append(costs, fmt.Sprintf("%s\t%.1f\t%.0f\t%.0f ms\t", f.name, (after.rules-before.rules)/serviceChanges, (after.bytes-before.bytes)/serviceChanges, 1000*(after.seconds-before.seconds)/serviceChanges))
	}
	return times, costs, nil
}

// flipping makes a Service whose one endpoint is written by hand, and returns what moves that to the other Pod.
func (b *serviceBench) flipping(ctx context.Context, n int) (func() (string, func(string) bool, error), error) {
	name := fmt.Sprint("flip-", n)
	svc, err := b.k.CoreV1().Services(servicesNamespace).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	var answers, ips [servicePods]string
	for i, pod := range b.pods {
		remember := func(answer string) bool { answers[i] = answer; return answer != "" }
		if err := b.reach(ctx, pod, remember); err != nil {
			return nil, err
		}
		if ips[i], _, err = net.SplitHostPort(pod); err != nil {
			return nil, err
		}
	}
	ready, port, proto := true, int32(servicePort), corev1.ProtocolTCP
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: &port, Protocol: &proto}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{ips[0]}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}
	slices := b.k.DiscoveryV1().EndpointSlices(servicesNamespace)
	if slice, err = slices.Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	address, now := net.JoinHostPort(svc.Spec.ClusterIP, "80"), 0
	is := func(i int) func(string) bool { return func(answer string) bool { return answer == answers[i] } }
	if err := b.reach(ctx, address, is(now)); err != nil {
		return nil, err
	}
	return func() (string, func(string) bool, error) {
		now = 1 - now
		slice.Endpoints[0].Addresses = []string{ips[now]}
		var err error
		slice, err = slices.Update(ctx, slice, metav1.UpdateOptions{})
		return address, is(now), err
	}, nil
}

// first takes the time in which a node that has no rules yet writes those of all Services.
func (b *serviceBench) first(ctx context.Context) error {
	component := cluster.Node + "/" + b.c.Workers()[0].Name
	at, err := b.create(ctx)
	if err == nil {
		err = b.reach(ctx, at, nil)
	}
	if err != nil {
		return err
	}
	if err := b.c.Kill(component); err != nil {
		return err
	}
	flush := exec.CommandContext(ctx, "iptables-restore")
	flush.Stdin = strings.NewReader("*nat\nCOMMIT\n*filter\nCOMMIT\n*mangle\nCOMMIT\n")
	if err := netns.Do(b.inside, flush.Run); err != nil {
		return fmt.Errorf("removing all rules of the node: %w", err)
	}
	if netns.Do(b.inside, func() error { _, err := connect(at, false); return err }) == nil {
		return errors.New("a Service is reached without rules")
	}
	began := time.Now()
	if err := b.c.Start(component); err != nil {
		return err
	}
	if err := b.reach(ctx, at, nil); err != nil {
		return err
	}
	took := time.Since(began)
	var w written
	for w.seconds == 0 { // it is told once the write has returned, or later while the node's server starts
		if w, err = b.written(ctx); err != nil && time.Since(began) > roundTime {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	pid, err := b.c.PID(component)
	if err != nil {
		return err
	}
	rss, _, err := memory(pid)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(b.out, "  first programming of %d Services: %s from the daemon's start until they are reached, of which %s for %.0f rules in %.1f MB; daemon %d MB resident\n",
		b.made.Load(), took.Round(10*time.Millisecond), time.Duration(w.seconds*float64(time.Second)).Round(10*time.Millisecond), w.rules, w.bytes/1e6, rss>>10)
	return err
}

// written is what the node's proxy has sent for IPv4 since it started.
type written struct{ rules, bytes, seconds float64 }

func (b *serviceBench) written(ctx context.Context) (w written, err error) {
	raw, err := b.k.CoreV1().RESTClient().Get().Resource("nodes").Name(b.c.Workers()[0].Name).SubResource("proxy").Suffix("metrics").DoRaw(ctx)
	if err != nil {
		return w, err
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(raw)))
	if err != nil {
		return w, err
	}
	for name, to := range map[string]*float64{"gitopsd_proxy_written_rules_total": &w.rules, "gitopsd_proxy_written_bytes_total": &w.bytes, "kubeproxy_sync_proxy_rules_duration_seconds": &w.seconds} {
		for _, m := range families[name].GetMetric() {
			if slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetValue() == string(corev1.IPv4Protocol) }) {
				*to = m.GetCounter().GetValue() + m.GetHistogram().GetSampleSum()
			}
		}
	}
	return w, nil
}
