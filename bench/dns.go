package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/netns"
)

// What the DNS figures are taken with.
const (
	dnsServices = 1000
	dnsClients  = 16
	dnsRounds   = 3
	dnsRound    = 2 * time.Second
	dnsTimeout  = time.Second
	dnsOwn      = "10.43.0.10:53"
	dnsPeer     = "127.0.0.1:1053"
	dnsOutside  = "10.89.0.1:53" // of the cluster's outer namespace
)

// dnsCases are the questions: each client puts them in turn.
var dnsCases = []struct {
	name  string
	names []string
	rcode int
}{
	{"a ClusterIP Service", []string{"web-7.bench.svc.cluster.local."}, dns.RcodeSuccess},
	{"a headless Service of ten", []string{"db.bench.svc.cluster.local."}, dns.RcodeSuccess},
	{"no such name, through the search path", []string{"www.example.org.bench.svc.cluster.local.", "www.example.org.svc.cluster.local.", "www.example.org.cluster.local."}, dns.RcodeNameError},
	{"another's name, cached", []string{"www.example.org."}, dns.RcodeSuccess},
}

// benchDNS takes questions per second of one node, and of CoreDNS on the same node in the same run where the folder peers has it.
func benchDNS(ctx context.Context, bin, dir, peers string, out io.Writer) (err error) {
	c, err := cluster.Up(ctx, cluster.Options{Dir: filepath.Join(dir, "dns"), Workers: 1, Bin: bin, Owned: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Down()) }()
	outside, err := outsideServer(c)
	if err != nil {
		return err
	}
	defer outside.Close()
	if err := dnsObjects(ctx, c); err != nil {
		return err
	}
	inside := netns.Path(c.Workers()[0].NetNS)
	servers := []string{dnsOwn}
	if peers != "" {
		if _, err := os.Stat(filepath.Join(peers, "coredns")); err == nil {
			stop, err := startCoreDNS(ctx, filepath.Join(peers, "coredns"), filepath.Join(dir, "coredns"), inside, c.Kubeconfig())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, stop()) }()
			servers = append(servers, dnsPeer)
		}
	}
	for _, s := range servers {
		for _, cs := range dnsCases {
			if err := awaitAnswers(ctx, inside, s, cs.names, cs.rcode); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(out, "DNS of one node with %d Services: medians of %d rounds, %d clients on the same cores, by UDP\n", dnsServices, dnsRounds, dnsClients)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tper second\tp99\tCoreDNS per second\tp99\tof CoreDNS\t")
	for _, cs := range dnsCases {
		rates, p99 := make([][]float64, 2), make([][]time.Duration, 2)
		for range dnsRounds {
			for i, s := range servers { // by turns, as the machine is not equally fast all the time
				times, err := askFor(ctx, inside, s, cs.names, cs.rcode)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", s, cs.name, err)
				}
				rates[i] = append(rates[i], float64(len(times))/dnsRound.Seconds())
				p99[i] = append(p99[i], figure{times: times}.percentile(99))
			}
		}
		peer := [3]string{"–", "–", "–"}
		if len(servers) > 1 {
			peer = [3]string{fmt.Sprintf("%.0f", median(rates[1])), figure{times: p99[1]}.percentile(50).Round(time.Microsecond).String(), ratio(median(rates[0]), median(rates[1]))}
		}
		fmt.Fprintf(w, "%s\t%.0f\t%s\t%s\t%s\t%s\t\n", cs.name, median(rates[0]), figure{times: p99[0]}.percentile(50).Round(time.Microsecond), peer[0], peer[1], peer[2])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out)
	return err
}

// outsideServer answers for all names that are not the cluster's, outside of it.
func outsideServer(c *cluster.Cluster) (io.Closer, error) {
	var pc net.PacketConn
	if err := c.Do(func() (err error) { pc, err = net.ListenPacket("udp", dnsOutside); return err }); err != nil {
		return nil, err
	}
	srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		r := new(dns.Msg).SetReply(m)
		r.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 3600}, A: net.IPv4(192, 0, 2, 1)}}
		_ = w.WriteMsg(r)
	})}
	go func() { _ = srv.ActivateAndServe() }()
	return pc, nil
}

// dnsObjects makes the Services that are asked about, and says who knows all other names.
func dnsObjects(ctx context.Context, c *cluster.Cluster) error {
	k, err := c.Client()
	if err != nil {
		return err
	}
	const namespace = "bench"
	if _, err := k.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(dnsOutside)
	if err != nil {
		return err
	}
	if _, err := k.CoreV1().ConfigMaps(metav1.NamespaceSystem).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "coredns-custom"}, Data: map[string]string{"all.override": "forward . " + host + "\n"},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	for i := range dnsServices {
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("web-", i)}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
		if _, err := k.CoreV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return headlessOfTen(ctx, k, namespace)
}

func headlessOfTen(ctx context.Context, k kubernetes.Interface, namespace string) error {
	db := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}}
	if _, err := k.CoreV1().Services(namespace).Create(ctx, db, metav1.CreateOptions{}); err != nil {
		return err
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "db-1", Labels: map[string]string{discoveryv1.LabelServiceName: "db", corev1.IsHeadlessService: ""}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for i := range 10 {
		ready := true
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.42.9.%d", i+1)}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	}
	_, err := k.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice, metav1.CreateOptions{})
	return err
}

// startCoreDNS starts CoreDNS on the node, as kubeadm configures it.
func startCoreDNS(ctx context.Context, program, dir, inside, kubeconfig string) (stop func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(dnsPeer)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`.:%s {
    bind %s
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig %s
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    forward . %s
    cache 30
    loadbalance
}
`, port, host, kubeconfig, dnsOutside)
	file := filepath.Join(dir, "Corefile")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "-conf", file)
	return startInside(inside, cmd, filepath.Join(dir, "log"))
}

// asking is one client with a socket of its own.
type asking struct {
	conn      net.Conn
	questions [][]byte
	rcode     int
	buf       [4096]byte
	id        uint16
}

func newAsking(inside, server string, names []string, rcode int) (*asking, error) {
	a := &asking{rcode: rcode}
	for _, name := range names {
		packed, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
		if err != nil {
			return nil, err
		}
		a.questions = append(a.questions, packed)
	}
	return a, netns.Do(inside, func() (err error) { a.conn, err = net.Dial("udp", server); return err })
}

// once puts one question and waits for its answer.
func (a *asking) once() error {
	a.id++
	q := a.questions[int(a.id)%len(a.questions)]
	q[0], q[1] = byte(a.id>>8), byte(a.id)
	if err := a.conn.SetDeadline(time.Now().Add(dnsTimeout)); err != nil {
		return err
	}
	if _, err := a.conn.Write(q); err != nil {
		return err
	}
	for {
		n, err := a.conn.Read(a.buf[:])
		if err != nil {
			return err
		}
		switch {
		case n < 12 || a.buf[0] != q[0] || a.buf[1] != q[1]: // of a question that was given up
		case int(a.buf[3]&0xf) != a.rcode:
			return fmt.Errorf("answered with %s, want %s", dns.RcodeToString[int(a.buf[3]&0xf)], dns.RcodeToString[a.rcode])
		default:
			return nil
		}
	}
}

// awaitAnswers waits until a server knows what it will be asked.
func awaitAnswers(ctx context.Context, inside, server string, names []string, rcode int) error {
	a, err := newAsking(inside, server, names, rcode)
	if err != nil {
		return err
	}
	defer a.conn.Close()
	for deadline := time.Now().Add(roundTime); ; {
		if err = a.once(); err == nil {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%s does not answer for %v: %w", server, names, err)
		}
		time.Sleep(10 * time.Millisecond) // there is no event for "a server knows a name"
	}
}

// askFor has all clients ask for a round, and returns how long each answer took.
func askFor(ctx context.Context, inside, server string, names []string, rcode int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsRound)
	defer cancel()
	times, errs := make([][]time.Duration, dnsClients), make([]error, dnsClients)
	var wg sync.WaitGroup
	for i := range dnsClients {
		a, err := newAsking(inside, server, names, rcode)
		if err != nil {
			return nil, err
		}
		wg.Go(func() {
			defer a.conn.Close()
			for ctx.Err() == nil {
				began := time.Now()
				if errs[i] = a.once(); errs[i] != nil {
					return
				}
				times[i] = append(times[i], time.Since(began))
			}
		})
	}
	wg.Wait()
	return slices.Concat(times...), errors.Join(errs...)
}
