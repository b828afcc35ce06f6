package netpolicy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/network"
	"github.com/gitopsd/gitopsd/internal/proxy"
	"github.com/gitopsd/gitopsd/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

var cluster = []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/48")}

const dnsAddress = "10.43.0.10"

// world is a node with the Enforcer under test and a Service proxy, another node with neither, and an API.
type world struct {
	nodes   [2]string
	nodeIPs [2]netip.Addr
	nets    [2]*network.Network
	client  *fake.Clientset
	stop    func()

	enforcer *Enforcer
	dir      string
}

// aPod is a Pod that runs: it answers its name on every port that serve was told.
type aPod struct {
	ns  string
	ips []netip.Addr
	obj *corev1.Pod
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{client: fake.NewClientset(), dir: t.TempDir()}
	lan := netns.NewLAN(t)
	for i := range w.nodes {
		w.nodes[i], w.nodeIPs[i] = lan.Host(t)
		err := netns.Do(w.nodes[i], func() (err error) {
			w.nets[i], err = network.New(network.Config{
				NodeName: fmt.Sprint("w", i+1), StateDir: t.TempDir(), ClusterCIDRs: cluster,
				PodCIDRs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.42.%d.0/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("fd42:0:0:%d::/64", i+1))},
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		run(t, w.nodes[i], "ip", "addr", "add", fmt.Sprintf("fd89::%d/64", i+1), "dev", "eth0", "nodad")
	}
	for i := range w.nodes {
		run(t, w.nodes[i], "ip", "route", "add", fmt.Sprintf("10.42.%d.0/24", 2-i), "via", w.nodeIPs[1-i].String())
		run(t, w.nodes[i], "ip", "-6", "route", "add", fmt.Sprintf("fd42:0:0:%d::/64", 2-i), "via", fmt.Sprintf("fd89::%d", 2-i))
	}
	run(t, w.nodes[0], "ip", "addr", "add", dnsAddress+"/32", "dev", "lo")
	for _, ns := range []string{"shop", "pay", "kube-system"} {
		w.namespace(t, ns, "kubernetes.io/metadata.name="+ns)
	}
	w.must(t, func(ctx context.Context) error {
		_, err := w.client.CoreV1().Services("kube-system").Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-dns", Labels: map[string]string{"service.kubernetes.io/service-proxy-name": "gitopsd-dns"}},
			Spec:       corev1.ServiceSpec{ClusterIP: dnsAddress, ClusterIPs: []string{dnsAddress}},
		}, metav1.CreateOptions{})
		return err
	})
	w.start(t)
	return w
}

func (w *world) must(t testing.TB, f func(ctx context.Context) error) {
	t.Helper()
	if err := f(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// start runs the Enforcer and the Service proxy of the first node, as a process that starts does.
func (w *world) start(t testing.TB) {
	t.Helper()
	services := w.startAlone(t)
	select {
	case <-services.Synced():
	case <-time.After(20 * time.Second):
		t.Fatal("the proxy has not written its rules")
	}
}

// startAlone is start that waits for nothing.
func (w *world) startAlone(t testing.TB) *proxy.Proxy {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	factory := informers.NewSharedInformerFactory(w.client, 0)
	own := coreinformers.NewFilteredPodInformer(w.client, "", 0, cache.Indexers{}, func(o *metav1.ListOptions) { o.FieldSelector = "spec.nodeName=w1" })
	var services *proxy.Proxy
	err := netns.Do(w.nodes[0], func() (err error) {
		w.enforcer, err = New(Config{ClusterCIDRs: cluster, Informers: factory, Pods: own, Client: w.client, Places: w.nets[0].Places, Dir: w.dir, OwnDNS: true})
		if err != nil {
			return err
		}
		services, err = proxy.New(proxy.Config{NodeName: "w1", ClusterCIDRs: cluster, Informers: factory})
		return err
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	go own.RunWithContext(ctx)
	var wg sync.WaitGroup
	e := w.enforcer
	for _, f := range []func(context.Context) error{e.Run, services.Run} {
		wg.Go(func() {
			if err := netns.Do(w.nodes[0], func() error { return f(ctx) }); err != nil {
				t.Error(err)
			}
		})
	}
	w.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		factory.Shutdown()
	})
	t.Cleanup(w.stop)
	return services
}

func (w *world) namespace(t testing.TB, name string, labels ...string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: words(labels)}}
	w.must(t, func(ctx context.Context) error {
		if _, err := w.client.CoreV1().Namespaces().Update(ctx, ns, metav1.UpdateOptions{}); err == nil {
			return nil
		}
		_, err := w.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
		return err
	})
}

func words(list []string) map[string]string {
	out := map[string]string{}
	for _, l := range list {
		k, v, _ := strings.Cut(l, "=")
		out[k] = v
	}
	return out
}

// pod runs a Pod on a node (0 or 1), with the port "http" 8080, as the node daemon does: its interface comes when it was admitted, and its address is at the API after that.
func (w *world) pod(t testing.TB, node int, namespace, name string, labels ...string) *aPod {
	t.Helper()
	p := &aPod{ns: netns.New(t), obj: &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + "-" + name), Labels: words(labels)},
		Spec: corev1.PodSpec{NodeName: fmt.Sprint("w", node+1), Containers: []corev1.Container{{
			Name: "c", Ports: []corev1.ContainerPort{{Name: "http", Protocol: corev1.ProtocolTCP, ContainerPort: 8080}},
		}}},
	}}
	ctx := t.Context()
	w.must(t, func(ctx context.Context) error {
		_, err := w.client.CoreV1().Pods(namespace).Create(ctx, p.obj, metav1.CreateOptions{})
		return err
	})
	pod := network.Pod{Namespace: namespace, Name: name, UID: string(p.obj.UID), NetNS: p.ns}
	if node == 0 {
		pod.Guard = func(ctx context.Context) error { return w.enforcer.Admit(ctx, p.obj) }
	}
	err := netns.Do(w.nodes[node], func() error {
		a, err := w.nets[node].Attach(ctx, pod)
		p.ips = a.IPs
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range p.ips {
		p.obj.Status.PodIPs = append(p.obj.Status.PodIPs, corev1.PodIP{IP: ip.String()})
	}
	w.must(t, func(ctx context.Context) error {
		_, err := w.client.CoreV1().Pods(namespace).UpdateStatus(ctx, p.obj, metav1.UpdateOptions{})
		return err
	})
	serve(t, p.ns, name, 8080)
	serve(t, p.ns, name, 9090)
	return p
}

// policy creates or replaces NetworkPolicies of the namespace shop, given as the specs by name.
func (w *world) policy(t testing.TB, name, spec string) {
	t.Helper()
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	w.must(t, func(ctx context.Context) error {
		if _, err := w.client.NetworkingV1().NetworkPolicies("shop").Update(ctx, p, metav1.UpdateOptions{}); err == nil {
			return nil
		}
		_, err := w.client.NetworkingV1().NetworkPolicies("shop").Create(ctx, p, metav1.CreateOptions{})
		return err
	})
}

func (w *world) drop(t testing.TB, policy string) {
	t.Helper()
	w.must(t, func(ctx context.Context) error {
		return w.client.NetworkingV1().NetworkPolicies("shop").Delete(ctx, policy, metav1.DeleteOptions{})
	})
}

// service makes a Service of the namespace shop with one endpoint.
func (w *world) service(t testing.TB, name, ip string, nodePort int32, to *aPod) {
	t.Helper()
	port, ready, node := int32(8080), true, to.obj.Spec.NodeName
	w.must(t, func(ctx context.Context) error {
		_, err := w.client.DiscoveryV1().EndpointSlices("shop").Create(ctx, &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{to.ips[0].String()}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		}, metav1.CreateOptions{})
		return err
	})
	w.must(t, func(ctx context.Context) error {
		_, err := w.client.CoreV1().Services("shop").Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeNodePort, ClusterIP: ip, ClusterIPs: []string{ip},
				Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP, NodePort: nodePort}},
			},
		}, metav1.CreateOptions{})
		return err
	})
}

func run(t testing.TB, ns string, args ...string) string {
	t.Helper()
	var out []byte
	err := netns.Do(ns, func() (err error) {
		out, err = exec.Command(args[0], args[1:]...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// serve answers with a name on a TCP and a UDP port of the namespace.
func serve(t testing.TB, ns, name string, port int) {
	t.Helper()
	serveAt(t, ns, name, fmt.Sprintf(":%d", port))
}

func serveAt(t testing.TB, ns, name, addr string) {
	t.Helper()
	err := netns.Do(ns, func() error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close(); u.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					fmt.Fprintln(c, name)
					io.Copy(c, c) // echo until the client is done
				}()
			}
		}()
		go func() {
			buf := make([]byte, 100)
			for {
				_, from, err := u.ReadFrom(buf)
				if err != nil {
					return
				}
				if _, err := u.WriteTo([]byte(name), from); err != nil {
					return
				}
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// dial connects and hears the server's first word.
func dial(t testing.TB, ns, proto, addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	c, err := netns.Dialer(ns)(ctx, proto, addr)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if strings.HasPrefix(proto, "udp") {
		if _, err := c.Write([]byte("?")); err != nil {
			return nil, err
		}
	}
	if _, err := c.Read(make([]byte, 100)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Times that tests wait: patience for what is to work, and silence after which nothing comes any more.
const (
	patience = 10 * time.Second
	silence  = 300 * time.Millisecond
)

// becomes waits until connections from a namespace to an address are let through, or are not.
func becomes(t testing.TB, open bool, ns, proto, addr, what string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		c, err := dial(t, ns, proto, addr, silence)
		if err == nil {
			c.Close()
		}
		if (err == nil) == open {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s to %s: let through: %v, want %v (%v)", what, proto, addr, err == nil, open, err)
		}
	}
}

// opens and refused check once, for what must be so from the first packet on.
func opens(t testing.TB, from *aPod, proto string, to netip.AddrPort) {
	t.Helper()
	c, err := dial(t, from.ns, proto, to.String(), patience)
	if err != nil {
		t.Errorf("%s: %s to %s: %v, want it to be let through", from.obj.Name, proto, to, err)
		return
	}
	c.Close()
}

func refused(t testing.TB, from *aPod, proto string, to netip.AddrPort) {
	t.Helper()
	c, err := dial(t, from.ns, proto, to.String(), silence)
	if err == nil {
		c.Close()
		t.Errorf("%s: %s to %s was let through", from.obj.Name, proto, to)
	}
}

func (p *aPod) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(p.ips[0], port) }
func (p *aPod) at6(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(p.ips[1], port)
}

// settle waits until the kernel has the rules for what the API held at the call.
func (w *world) settle(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		have, err := w.client.NetworkingV1().NetworkPolicies("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		same := len(have.Items) == len(w.enforcer.policies.GetStore().List())
		for i := range have.Items {
			p := &have.Items[i]
			got, ok, _ := w.enforcer.policies.GetStore().GetByKey(p.Namespace + "/" + p.Name)
			same = same && ok && got.(*networkingv1.NetworkPolicy).Spec.String() == p.Spec.String()
		}
		if same {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the informer has not caught up")
		}
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.enforcer.Admit(ctx, &corev1.Pod{}); err != nil {
		t.Fatal(err)
	}
}

// bare is a Pod that the API does not know of.
func (w *world) bare(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}}
}
