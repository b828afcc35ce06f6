package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/iptables"
	"github.com/gitopsd/gitopsd/internal/proxy/rules"
	"github.com/gitopsd/gitopsd/test/netns"
)

func TestOutsideEditsAreHealedWithinSeconds(t *testing.T) {
	w := newWorld(t)
	client, clientIP := w.pod(t, 0, "client")
	server, serverIP := w.pod(t, 1, "server")
	serve(t, server, "b", 8080)
	w.apply(t, webManifest+endpoint(serverIP, "w2"))
	w.settle(t)
	before := ownRules(t, w.nodes[0])
	for name, edit := range map[string][]string{
		"a rule deleted":    {"iptables", "-t", "nat", "-D", servicesChain, "1"},
		"a rule added":      {"iptables", "-t", "nat", "-I", markedChain, "-j", "RETURN"},
		"a chain emptied":   {"iptables", "-t", "nat", "-F", foreignChain},
		"a chain added":     {"iptables", "-t", "filter", "-N", chainPrefix + "STRANGER"},
		"a jump deleted":    {"iptables", "-t", "nat", "-D", "OUTPUT", "1"},
		"the table emptied": {"iptables", "-t", "nat", "-F"},
	} {
		run(t, w.nodes[0], edit...)
		deadline := time.Now().Add(10 * time.Second)
		for {
			diff := cmp.Diff(before, ownRules(t, w.nodes[0]))
			if diff == "" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: rules before and after healing (-before +after):\n%s", name, diff)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	want(t, client, "tcp", "10.43.0.7:80", "b", clientIP.String())
}

// ownRules are the rules of this package and the jumps to them.
func ownRules(t testing.TB, ns string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(run(t, ns, "iptables-save")) {
		if strings.Contains(line, chainPrefix) {
			out = append(out, line)
		}
	}
	return out
}

func TestVerifyFindsNothingToRepairInWhatWasJustWritten(t *testing.T) {
	w := newWorld(t)
	_, ip := w.pod(t, 0, "a")
	_, other := w.pod(t, 1, "b")
	for i, option := range []string{
		"type: NodePort", "type: NodePort, externalTrafficPolicy: Local", "type: NodePort, sessionAffinity: ClientIP",
		"type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.0/24], externalIPs: [203.0.113.5]", "type: NodePort, internalTrafficPolicy: Local",
	} {
		m := strings.NewReplacer("web", fmt.Sprint("web-", i), "0.7", fmt.Sprintf("0.%d", i+1), "30080", fmt.Sprint(30080+i), "type: NodePort", option).Replace(webManifest)
		w.apply(t, m+endpoint(ip, "w1")+endpoint(other, "w2"))
		if i == 1 {
			w.apply(t, m[:strings.Index(m, "---\n")])
		}
	}
	w.settle(t)
	w.stop()
	err := netns.Do(w.nodes[0], func() error {
		repaired, err := w.proxy.families[0].writer.Verify(t.Context())
		if len(repaired) > 0 {
			t.Errorf("repaired %v, though nobody changed a rule", repaired)
		}
		if spelled := w.proxy.families[0].writer.Respelled(); len(spelled) > 0 {
			t.Errorf("iptables-save prints these chains in other words than were sent: %v", spelled)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRestartTakesOverWithoutTouchingWhatStays(t *testing.T) {
	w := newWorld(t)
	server, serverIP := w.pod(t, 1, "server")
	serve(t, server, "b", 8080)
	w.apply(t, webManifest+endpoint(serverIP, "w2"))
	w.settle(t)
	gone := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "gone"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.43.9.9", Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}},
	}
	var before []string
	eventually(t, "the rules of the test's own markers to go", func() error {
		if before = ownRules(t, w.nodes[0]); strings.Contains(strings.Join(before, ""), "marker") {
			return errors.New("still there")
		}
		return nil
	})
	if _, err := w.client.CoreV1().Services("shop").Create(t.Context(), gone, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.settle(t)
	w.stop()
	if err := w.client.CoreV1().Services("shop").Delete(t.Context(), "gone", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// Packet counters tell whether a rule was written anew: that starts them at zero.
	want(t, w.outside, "tcp", w.nodeIPs[0].String()+":30080", "b", w.nodeIPs[0].String())
	w.start(t)
	webChain := chainName('X', rules.PortName{Namespace: "shop", Service: "web", Protocol: corev1.ProtocolTCP})
	counters := run(t, w.nodes[0], "iptables-save", "-c", "-t", "nat")
	if !strings.Contains(counters, "] -A "+webChain) || strings.Contains(counters, "[0:0] -A "+webChain) {
		t.Errorf("the chain of a Service that stays was written anew:\n%s", counters)
	}
	w.settle(t)
	eventually(t, "the rules to be those of before", func() error {
		if diff := cmp.Diff(before, ownRules(t, w.nodes[0])); diff != "" {
			return fmt.Errorf("rules (-before +after the restart):\n%s", diff)
		}
		return nil
	})
}

func TestCleanupRemovesEveryRule(t *testing.T) {
	w := newWorld(t)
	before := run(t, w.nodes[1], "iptables-save") // the node without a proxy
	_, ip := w.pod(t, 0, "a")
	w.apply(t, webManifest+endpoint(ip, "w1"))
	w.stop()
	if err := netns.Do(w.nodes[0], func() error { return Cleanup(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	if left := ownRules(t, w.nodes[0]); len(left) > 0 {
		t.Errorf("left behind: %v\nother node: %s", left, before)
	}
}

func TestFailedWriteIsRepeatedInFull(t *testing.T) {
	w := newWorld(t)
	server, serverIP := w.pod(t, 1, "server")
	serve(t, server, "b", 8080)
	w.apply(t, webManifest+endpoint(serverIP, "w2"))
	w.stop()
	err := netns.Do(w.nodes[0], func() error {
		f := w.proxy.families[0]
		bad := iptables.Chains{{Table: iptables.NAT, Name: chainPrefix + "BAD"}: {"-m nosuchmatch -j RETURN"}}
		err := f.writer.Update(t.Context(), bad)
		if err == nil || !strings.Contains(err.Error(), "nosuchmatch") {
			t.Errorf("error %v, want one that quotes the rule", err)
		}
		for c := range bad {
			bad[c] = nil
		}
		return f.writer.Update(t.Context(), bad)
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, w.outside, "tcp", w.nodeIPs[0].String()+":30080", "b", w.nodeIPs[0].String())
}

func TestALoadBalancerIsToldWhetherTheNodeHasAnEndpoint(t *testing.T) {
	w := newWorld(t)
	_, here := w.pod(t, 0, "here")
	_, there := w.pod(t, 1, "there")
	ask := func() (int, string) {
		t.Helper()
		client := http.Client{Transport: &http.Transport{DialContext: netns.Dialer(w.outside), DisableKeepAlives: true}, Timeout: 5 * time.Second}
		answer, err := client.Get(fmt.Sprintf("http://%s:30999/", w.nodeIPs[0]))
		if err != nil {
			return 0, err.Error()
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, strings.TrimSpace(string(body))
	}
	check := func(endpoints string, status int, body string) {
		t.Helper()
		w.apply(t, `
metadata: {namespace: shop, name: web}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30999, clusterIP: 10.43.0.7, ports: [{port: 80, protocol: TCP}]}
---
ports: [{port: 8080, protocol: TCP}]
endpoints:
`+endpoints)
		if gotStatus, got := ask(); gotStatus != status || got != body {
			t.Errorf("%d %s, want %d %s", gotStatus, got, status, body)
		}
	}
	check(endpoint(here, "w1")+endpoint(there, "w2"), 200, `{"service":{"namespace":"shop","name":"web"},"localEndpoints":1,"serviceProxyHealthy":true}`)
	check(endpoint(there, "w2"), 503, `{"service":{"namespace":"shop","name":"web"},"localEndpoints":0,"serviceProxyHealthy":true}`)
	w.apply(t, "metadata: {namespace: shop, name: web}\nspec: {clusterIP: 10.43.0.7, ports: [{port: 80, protocol: TCP}]}\n")
	if status, got := ask(); !strings.Contains(got, "refused") {
		t.Errorf("without a load balancer: %d %s", status, got)
	}
}
