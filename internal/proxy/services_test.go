package proxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/test/netns"
)

func TestServiceAnswersOnEveryKindOfAddress(t *testing.T) {
	w := newWorld(t)
	client, clientIP := w.pod(t, 0, "client")
	server, serverIP := w.pod(t, 1, "server")
	serve(t, server, "b", 8080)
	w.apply(t, webManifest+endpoint(serverIP, "w2"))
	w.apply(t, strings.NewReplacer("web", "dns", "TCP", "UDP", "0.7", "0.8", "30080", "30053").Replace(webManifest)+endpoint(serverIP, "w2"))

	node := w.nodeIPs[0].String()
	for _, proto := range []string{"tcp", "udp"} {
		vip, port := "10.43.0.7:80", ":30080"
		if proto == "udp" {
			vip, port = "10.43.0.8:80", ":30053"
		}
		want(t, client, proto, vip, "b", clientIP.String())
		want(t, w.nodes[0], proto, vip, "b", node)
		want(t, w.outside, proto, node+port, "b", node)
		want(t, w.nodes[0], proto, node+port, "b", node)
		want(t, w.nodes[0], proto, "127.0.0.1"+port, "b", node)
		want(t, w.nodes[0], proto, "10.42.1.1"+port, "b", node)
		want(t, client, proto, node+port, "b", node)
		want(t, client, proto, "10.42.1.1"+port, "b", node)
	}
	// A client outside the cluster that routes to the Service's address through the node is answered through it.
	run(t, w.outside, "ip", "route", "add", "10.43.0.0/16", "via", node)
	want(t, w.outside, "tcp", "10.43.0.7:80", "b", node)
}

func TestPodReachesItselfThroughItsService(t *testing.T) {
	for _, bridgeFilter := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+bridgeFilter, func(t *testing.T) {
			w := newWorld(t)
			const setting = "/proc/sys/net/bridge/bridge-nf-call-iptables"
			if _, err := os.Stat(setting); err == nil {
				if err := netns.Do(w.nodes[0], func() error { return os.WriteFile(setting, []byte(bridgeFilter), 0o644) }); err != nil {
					t.Fatal(err)
				}
			} else if bridgeFilter == "1" {
				t.Skip("SKIPPED: br_netfilter is not loaded, so bridged packets meet no rules")
			}
			a, aIP := w.pod(t, 0, "a")
			b, bIP := w.pod(t, 0, "b")
			serve(t, a, "a", 8080)
			w.apply(t, webManifest+endpoint(aIP, "w1"))
			want(t, a, "tcp", "10.43.0.7:80", "a", "10.42.1.1")
			want(t, b, "tcp", "10.43.0.7:80", "a", bIP.String()) // a neighbour is seen as itself
			want(t, a, "tcp", w.nodeIPs[0].String()+":30080", "a", "10.42.1.1")
		})
	}
}

func TestConnectionsAreSpreadEvenly(t *testing.T) {
	w := newWorld(t)
	manifest := webManifest
	for i := range 3 {
		ns, ip := w.pod(t, i%2, fmt.Sprint("pod-", i))
		serve(t, ns, fmt.Sprint("pod-", i), 8080)
		manifest += endpoint(ip, fmt.Sprint("w", i%2+1))
	}
	w.apply(t, manifest)
	const rounds = 6000 // one standard deviation is then 1.8% of a share, so 10% is more than five
	seen := map[string]int{}
	err := netns.Do(w.outside, func() error {
		for range rounds {
			c, err := net.Dial("tcp", w.nodeIPs[0].String()+":30080")
			if err != nil {
				return err
			}
			a, err := talk(c)
			c.Close()
			if err != nil {
				return err
			}
			seen[a[0]]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		name := fmt.Sprint("pod-", i)
		if n := seen[name]; n < rounds/3*9/10 || n > rounds/3*11/10 {
			t.Errorf("%s had %d of %d connections, want a third within 10%%; all: %v", name, n, rounds, seen)
		}
	}
}

func TestServiceWithoutEndpointsRefusesAtOnce(t *testing.T) {
	w := newWorld(t)
	client, _ := w.pod(t, 0, "client")
	w.apply(t, webManifest[:strings.Index(webManifest, "---\n")])
	node := w.nodeIPs[0].String()
	for _, from := range []struct{ ns, addr string }{
		{client, "10.43.0.7:80"}, {w.nodes[0], "10.43.0.7:80"}, {w.outside, node + ":30080"}, {w.nodes[0], "127.0.0.1:30080"}, {client, node + ":30080"},
	} {
		start := time.Now()
		_, err := dial(t, from.ns, "tcp", from.addr, 3*time.Second)
		if !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("connect to %s: %v after %s, want a refusal", from.addr, err, time.Since(start))
		}
	}
}

func TestPolicyLocalKeepsTheClientsAddress(t *testing.T) {
	w := newWorld(t)
	client, clientIP := w.pod(t, 0, "client")
	here, hereIP := w.pod(t, 0, "here")
	there, thereIP := w.pod(t, 1, "there")
	serve(t, here, "here", 8080)
	serve(t, there, "there", 8080)
	manifest := strings.Replace(webManifest, "type: NodePort", "type: NodePort, externalTrafficPolicy: Local, externalIPs: [203.0.113.5]", 1)
	node := w.nodeIPs[0].String()
	run(t, w.outside, "ip", "route", "add", "203.0.113.5", "via", node)

	w.apply(t, manifest+endpoint(hereIP, "w1")+endpoint(thereIP, "w2"))
	for range 10 {
		want(t, w.outside, "tcp", node+":30080", "here", w.outsideIP.String())
		want(t, w.outside, "tcp", "203.0.113.5:80", "here", w.outsideIP.String())
	}
	// Clients within the cluster are still served by all.
	met := map[string]bool{}
	for range 60 {
		a, err := dial(t, client, "tcp", node+":30080", 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		met[a[0]] = true
		if a[1] != clientIP.String() {
			t.Errorf("a Pod is seen as %s, want its own address", a[1])
		}
	}
	if len(met) != 2 {
		t.Errorf("a Pod met %v through the NodePort, want both endpoints", met)
	}

	w.apply(t, manifest+endpoint(thereIP, "w2"))
	if _, err := dial(t, w.outside, "tcp", node+":30080", 300*time.Millisecond); !isTimeout(err) {
		t.Errorf("without an endpoint here: %v, want silence", err)
	}
	want(t, client, "tcp", node+":30080", "there", clientIP.String())
	want(t, w.nodes[0], "tcp", "127.0.0.1:30080", "there", node)
}

func TestInternalPolicyLocalStaysOnTheNode(t *testing.T) {
	w := newWorld(t)
	client, clientIP := w.pod(t, 0, "client")
	here, hereIP := w.pod(t, 0, "here")
	_, thereIP := w.pod(t, 1, "there")
	serve(t, here, "here", 8080)
	manifest := strings.Replace(webManifest, "type: NodePort", "type: NodePort, internalTrafficPolicy: Local", 1)
	w.apply(t, manifest+endpoint(hereIP, "w1")+endpoint(thereIP, "w2"))
	for range 10 {
		want(t, client, "tcp", "10.43.0.7:80", "here", clientIP.String())
	}
	w.apply(t, manifest+endpoint(thereIP, "w2"))
	if _, err := dial(t, client, "tcp", "10.43.0.7:80", 300*time.Millisecond); !isTimeout(err) {
		t.Errorf("without an endpoint here: %v, want silence", err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func TestClientComesBackToItsEndpointWithinTheTimeout(t *testing.T) {
	w := newWorld(t)
	client, _ := w.pod(t, 0, "client")
	manifest := strings.Replace(webManifest, "type: NodePort",
		"type: NodePort, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 2}}", 1)
	list := map[string]string{}
	for i := range 4 {
		name := fmt.Sprint("pod-", i)
		ns, ip := w.pod(t, i%2, name)
		serve(t, ns, name, 8080)
		list[name] = endpoint(ip, fmt.Sprint("w", i%2+1))
	}
	all := list["pod-0"] + list["pod-1"] + list["pod-2"] + list["pod-3"]
	w.apply(t, manifest+all)

	first, err := dial(t, client, "tcp", "10.43.0.7:80", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		addr := "10.43.0.7:80"
		if i%2 == 1 {
			addr = w.nodeIPs[0].String() + ":30080" // the same client by another door
		}
		again, err := dial(t, client, "tcp", addr, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if again[0] != first[0] {
			t.Fatalf("connection %d met %s, the first one %s", i, again[0], first[0])
		}
	}
	// Its endpoint goes: another one takes over and keeps the client.
	delete(list, first[0])
	w.apply(t, manifest+list["pod-0"]+list["pod-1"]+list["pod-2"]+list["pod-3"])
	second, err := dial(t, client, "tcp", "10.43.0.7:80", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if second[0] == first[0] {
		t.Fatalf("%s was met after it was gone", first[0])
	}
	want(t, client, "tcp", "10.43.0.7:80", second[0], second[1])
	// After the timeout the client is a stranger again: out of many rounds, one meets somebody else.
	moved := false
	for range 8 {
		time.Sleep(2100 * time.Millisecond) // the timeout itself is what is tested
		a, err := dial(t, client, "tcp", "10.43.0.7:80", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if moved = a[0] != second[0]; moved {
			break
		}
	}
	if !moved {
		t.Error("the client stayed with its endpoint far past the timeout")
	}
}

func TestServiceAnswersOverIPv6(t *testing.T) {
	w := newWorld(t)
	client, _ := w.pod(t, 0, "client")
	here, _ := w.pod(t, 0, "here")
	there, _ := w.pod(t, 1, "there")
	serve(t, here, "here", 8080)
	serve(t, there, "there", 8080)
	w.apply(t, `
metadata: {namespace: shop, name: web}
spec: {type: NodePort, clusterIP: "fd43::7", ports: [{port: 80, protocol: TCP, nodePort: 30080}]}
---
addressType: IPv6
ports: [{port: 8080, protocol: TCP}]
endpoints:
- {addresses: ["fd42:0:0:2::2"], nodeName: w2, conditions: {ready: true}}
`)
	want(t, client, "tcp", "[fd43::7]:80", "there", "fd42:0:0:1::2")
	want(t, w.outside, "tcp", "[fd89::1]:30080", "there", "fd89::1")
	want(t, w.nodes[0], "tcp", "[fd43::7]:80", "there", "fd89::1")
	w.apply(t, `
metadata: {namespace: shop, name: web}
spec: {clusterIP: "fd43::7", sessionAffinity: ClientIP, ports: [{port: 80, protocol: TCP}]}
---
addressType: IPv6
ports: [{port: 8080, protocol: TCP}]
endpoints:
- {addresses: ["fd42:0:0:1::3"], nodeName: w1, conditions: {ready: true}}
`)
	want(t, client, "tcp", "[fd43::7]:80", "here", "fd42:0:0:1::2")
	want(t, here, "tcp", "[fd43::7]:80", "here", "fd42:0:0:1::1") // itself
}
