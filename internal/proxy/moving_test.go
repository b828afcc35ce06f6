package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/test/netns"
)

func TestUDPClientMovesOnWhenItsEndpointGoes(t *testing.T) {
	w := newWorld(t)
	client, _ := w.pod(t, 0, "client")
	a, aIP := w.pod(t, 1, "a")
	b, bIP := w.pod(t, 0, "b")
	serve(t, a, "a", 8080)
	serve(t, b, "b", 8080)
	manifest := strings.ReplaceAll(webManifest, "TCP", "UDP")
	conns := map[string]net.Conn{}
	for name, at := range map[string]struct{ ns, addr string }{
		"Pod": {client, "10.43.0.7:80"}, "outside": {w.outside, w.nodeIPs[0].String() + ":30080"},
	} {
		c, err := netns.Dialer(at.ns)(t.Context(), "udp", at.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[name] = c
	}
	// One and the same socket each, so that the kernel's table knows it, sends on and on.
	expect := func(server string) {
		t.Helper()
		for name, c := range conns {
			_ = c.SetDeadline(time.Now().Add(2 * time.Second))
			got, err := talk(c)
			if err != nil || got[0] != server {
				t.Errorf("%s: %v %v, want an answer from %s", name, got, err, server)
			}
		}
	}
	for name, c := range conns {
		if _, err := c.Write([]byte("to nobody yet")); err != nil {
			t.Fatal(name, err)
		}
		// The host outside is told that nobody listens; that answer must not be taken for one to what is sent next.
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = c.Read(make([]byte, 1))
	}
	w.apply(t, manifest+endpoint(aIP, "w2"))
	expect("a")
	w.apply(t, manifest+endpoint(bIP, "w1"))
	expect("b")
}

func TestEstablishedConnectionOutlivesItsEndpointsReadiness(t *testing.T) {
	w := newWorld(t)
	client, _ := w.pod(t, 0, "client")
	a, aIP := w.pod(t, 1, "a")
	b, bIP := w.pod(t, 1, "b")
	serve(t, a, "a", 8080)
	serve(t, b, "b", 8080)
	w.apply(t, webManifest+endpoint(aIP, "w2"))
	c, err := netns.Dialer(client)(t.Context(), "tcp", "10.43.0.7:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := talk(c); err != nil {
		t.Fatal(err)
	}
	w.apply(t, webManifest+endpoint(bIP, "w2")+
		fmt.Sprintf("- {addresses: [%s], nodeName: w2, conditions: {ready: false, serving: true, terminating: true}}\n", aIP))
	for range 20 {
		want(t, w.outside, "tcp", w.nodeIPs[0].String()+":30080", "b", w.nodeIPs[0].String())
	}
	if _, err := c.Write([]byte("still there?\n")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "still there?\n" {
		t.Errorf("the connection to the endpoint that is being shut down: %q, %v", buf[:n], err)
	}
}

func TestNoConnectionFailsWhileEndpointsChange(t *testing.T) {
	w := newWorld(t)
	var ends []string
	for i := range 4 {
		ns, ip := w.pod(t, i%2, fmt.Sprint("pod-", i))
		serve(t, ns, fmt.Sprint("pod-", i), 8080)
		ends = append(ends, endpoint(ip, fmt.Sprint("w", i%2+1)))
	}
	w.apply(t, webManifest+ends[0])
	ctx, cancel := context.WithCancel(t.Context())
	var conns atomic.Int64
	failed := make(chan error, 1)
	go func() {
		failed <- netns.Do(w.outside, func() error {
			for ctx.Err() == nil {
				c, err := net.DialTimeout("tcp", w.nodeIPs[0].String()+":30080", 3*time.Second)
				if err != nil {
					return err
				}
				_, err = talk(c)
				c.Close()
				if err != nil {
					return err
				}
				conns.Add(1)
			}
			return nil
		})
	}()
	for i := range 20 {
		w.apply(t, webManifest+ends[i%4]+ends[(i+1)%4])
	}
	cancel()
	if err := <-failed; err != nil {
		t.Errorf("after %d connections: %v", conns.Load(), err)
	}
	t.Logf("%d connections while endpoints changed 20 times", conns.Load())
}

func TestAddressIsDrainedWhenTheKernelNoLongerSendsThere(t *testing.T) {
	w := newWorld(t)
	a, aIP := w.pod(t, 0, "a")
	b, bIP := w.pod(t, 1, "b")
	serve(t, a, "a", 8080)
	serve(t, b, "b", 8080)
	w.apply(t, webManifest+endpoint(aIP, "w1")+endpoint(bIP, "w2"))

	if err := w.proxy.Drained(t.Context(), netip.MustParseAddr("10.42.1.99")); err != nil {
		t.Errorf("an address that no Service leads to: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := w.proxy.Drained(short, aIP); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a ready endpoint: %v, want to wait until the time is over", err)
	}

	drained := make(chan error, 1)
	go func() { drained <- w.proxy.Drained(t.Context(), aIP) }()
	list, err := w.client.DiscoveryV1().EndpointSlices("shop").Get(t.Context(), "web-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)}
	if _, err := w.client.DiscoveryV1().EndpointSlices("shop").Update(t.Context(), list, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-drained:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("not drained 5 s after the endpoint was called terminating")
	}
	// At once, and without any further waiting, every connection goes elsewhere.
	for range 50 {
		want(t, w.outside, "tcp", w.nodeIPs[0].String()+":30080", "b", w.nodeIPs[0].String())
	}

	// The last one serves on while it terminates, as nobody else is there; that cannot be waited for.
	list.Endpoints[1].Conditions = list.Endpoints[0].Conditions
	if _, err := w.client.DiscoveryV1().EndpointSlices("shop").Update(t.Context(), list, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.settle(t)
	if err := w.proxy.Drained(t.Context(), bIP); err != nil {
		t.Errorf("the last endpoint: %v", err)
	}
}
