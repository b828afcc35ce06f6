package netpolicy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	ktesting "k8s.io/client-go/testing"

	"github.com/gitopsd/gitopsd/internal/network"
	"github.com/gitopsd/gitopsd/test/netns"
)

func TestOnlyWhatAPolicyAllowsIsOpenedToAPod(t *testing.T) {
	w := newWorld(t)
	db, web, other, far := w.pod(t, 0, "shop", "db", "app=db"), w.pod(t, 0, "shop", "web", "app=web"), w.pod(t, 0, "shop", "other"), w.pod(t, 1, "shop", "far", "app=web")
	till := w.pod(t, 1, "pay", "till", "app=web")
	opens(t, other, "tcp", db.at(8080))

	w.policy(t, "closed", `{podSelector: {}}`)
	w.settle(t)
	for _, from := range []*aPod{web, other, far, till} {
		refused(t, from, "tcp", db.at(8080))
		refused(t, from, "udp", db.at(8080))
		refused(t, from, "tcp", db.at6(8080))
	}
	opens(t, db, "tcp", far.at(8080)) // it may open what it likes

	w.policy(t, "to-db", `{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: http}]}]}`)
	w.settle(t)
	becomes(t, true, far.ns, "tcp", db.at(8080).String(), "a peer of another node")
	opens(t, web, "tcp", db.at(8080))
	opens(t, web, "tcp", db.at6(8080))
	opens(t, far, "tcp", db.at6(8080))
	refused(t, web, "udp", db.at(8080))
	refused(t, web, "tcp", db.at(9090))
	refused(t, other, "tcp", db.at(8080))
	refused(t, till, "tcp", db.at(8080)) // has the label, but in another namespace

	w.policy(t, "to-db", `{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}], ports: [{port: 9000, endPort: 9100, protocol: UDP}]}]}`)
	w.settle(t)
	refused(t, web, "tcp", db.at(8080))
	refused(t, till, "udp", db.at(9090))
	w.namespace(t, "pay", "team=b")
	becomes(t, true, till.ns, "udp", db.at(9090).String(), "a namespace that was given the label")
	refused(t, till, "udp", db.at(8080))
	w.namespace(t, "pay", "team=c")
	becomes(t, false, till.ns, "udp", db.at(9090).String(), "a namespace that lost the label")

	w.policy(t, "to-db", fmt.Sprintf(`{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: 10.42.0.0/16, except: [%s/32]}}]}]}`, far.ips[0]))
	w.settle(t)
	opens(t, web, "tcp", db.at(8080))
	opens(t, till, "udp", db.at(9090))
	refused(t, far, "tcp", db.at(8080))
	refused(t, web, "tcp", db.at6(8080))

	w.drop(t, "to-db")
	w.drop(t, "closed")
	w.settle(t)
	opens(t, other, "tcp", db.at(8080))
	if save := run(t, w.nodes[0], "iptables-save", "-t", "mangle"); strings.Count(save, "-A GITOPSD-G-") > 0 {
		t.Errorf("rules without a policy:\n%s", save)
	}
}

func TestAPodOpensOnlyWhatAPolicyAllows(t *testing.T) {
	w := newWorld(t)
	web, db, far := w.pod(t, 0, "shop", "web", "app=web"), w.pod(t, 0, "shop", "db", "app=db"), w.pod(t, 1, "shop", "far", "app=db")
	serve(t, w.nodes[0], "node", 10250)
	serve(t, w.nodes[1], "node", 10250)
	serveAt(t, w.nodes[0], "dns", dnsAddress+":53")
	node, otherNode := netip.AddrPortFrom(w.nodeIPs[0], 10250), netip.AddrPortFrom(w.nodeIPs[1], 10250)
	dns := netip.MustParseAddrPort(dnsAddress + ":53")
	opens(t, web, "udp", dns)

	w.policy(t, "from-web", `{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}`)
	w.settle(t)
	refused(t, web, "tcp", db.at(8080))
	refused(t, web, "tcp", far.at(8080))
	refused(t, web, "tcp", otherNode)
	refused(t, web, "udp", dns)
	refused(t, web, "tcp", dns)
	opens(t, web, "tcp", node)
	opens(t, far, "tcp", web.at(8080))
	opens(t, far, "tcp", web.at6(8080))

	// By the labels of the Pods that answer DNS questions in other clusters; and to a port by its name.
	w.policy(t, "from-web", `
podSelector: {matchLabels: {app: web}}
policyTypes: [Egress]
egress:
- to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]
  ports: [{port: 53, protocol: UDP}]
- to: [{podSelector: {matchLabels: {app: db}}}]
  ports: [{port: http}]
`)
	w.settle(t)
	opens(t, web, "udp", dns)
	refused(t, web, "tcp", dns)
	opens(t, web, "tcp", db.at(8080))
	opens(t, web, "tcp", db.at6(8080))
	opens(t, web, "tcp", far.at(8080))
	refused(t, web, "tcp", far.at(9090))
	refused(t, web, "tcp", otherNode)

	// What is let out has still to be let in.
	w.policy(t, "to-db", `{podSelector: {matchLabels: {app: db}}}`)
	w.settle(t)
	refused(t, web, "tcp", db.at(8080))
	opens(t, web, "tcp", far.at(8080)) // nobody guards the other node here
}

func TestServicesAreJudgedByThePodBehindThem(t *testing.T) {
	w := newWorld(t)
	db, web, other := w.pod(t, 0, "shop", "db", "app=db"), w.pod(t, 0, "shop", "web", "app=web"), w.pod(t, 0, "shop", "other")
	far := w.pod(t, 1, "shop", "far", "app=web")
	w.service(t, "db", "10.43.0.7", 30080, db)
	w.service(t, "far", "10.43.0.8", 30081, far)
	clusterIP, farIP := netip.MustParseAddrPort("10.43.0.7:80"), netip.MustParseAddrPort("10.43.0.8:80")
	becomes(t, true, other.ns, "tcp", clusterIP.String(), "the Service")
	becomes(t, true, db.ns, "tcp", clusterIP.String(), "a Pod's own Service")
	becomes(t, true, other.ns, "tcp", farIP.String(), "the Service of a Pod elsewhere")

	w.policy(t, "to-db", `{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`)
	w.settle(t)
	opens(t, web, "tcp", clusterIP)
	refused(t, other, "tcp", clusterIP)
	opens(t, db, "tcp", clusterIP) // itself
	refused(t, db, "tcp", farIP)

	w.policy(t, "from-other", `{podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 8080}]}]}`)
	w.settle(t)
	opens(t, other, "tcp", farIP) // the Pod's port counts, not the Service's
}

func TestTheNodeAlwaysReachesItsPods(t *testing.T) {
	w := newWorld(t)
	db := w.pod(t, 0, "shop", "db")
	w.policy(t, "closed", `{podSelector: {}, policyTypes: [Ingress, Egress]}`)
	w.settle(t)
	for _, to := range []netip.AddrPort{db.at(8080), db.at6(8080)} {
		c, err := dial(t, w.nodes[0], "tcp", to.String(), patience)
		if err != nil {
			t.Errorf("the node to %s: %v", to, err)
			continue
		}
		c.Close()
	}
	becomes(t, false, w.nodes[1], "tcp", db.at(8080).String(), "another node")
}

func TestRulesAreInForceBeforeAPodHasAnInterface(t *testing.T) {
	w := newWorld(t)
	w.policy(t, "closed", `{podSelector: {}, policyTypes: [Ingress, Egress]}`)
	w.settle(t)
	far := w.pod(t, 1, "shop", "far")
	for i := range 8 {
		p := w.pod(t, 0, "shop", fmt.Sprint("p", i))
		// No wait, no second try: the first packet counts, from and to the Pod.
		refused(t, p, "udp", far.at(8080))
		refused(t, far, "udp", p.at(8080))
	}
}

func TestNoPodIsAdmittedWhilePoliciesAreNotKnown(t *testing.T) {
	w := newWorld(t)
	w.stop()
	if err := os.Remove(keptFile(w.dir)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), silence)
	defer cancel()
	ns := netns.New(t)
	err := netns.Do(w.nodes[0], func() error {
		_, err := w.nets[0].Attach(t.Context(), network.Pod{
			Namespace: "shop", Name: "p", UID: "p", NetNS: ns,
			Guard: func(context.Context) error { return w.enforcer.Admit(ctx, w.bare("p")) },
		})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "NetworkPolicies of Pod shop/p") {
		t.Errorf("error %v, want one that says what was waited for", err)
	}
	if out := run(t, ns, "ip", "-o", "link"); strings.Contains(out, "eth0") {
		t.Errorf("the Pod has an interface:\n%s", out)
	}
}

func TestAnEstablishedConnectionLivesOnWhenTheNodeRestarts(t *testing.T) {
	w := newWorld(t)
	db, web, other := w.pod(t, 0, "shop", "db", "app=db"), w.pod(t, 0, "shop", "web", "app=web"), w.pod(t, 0, "shop", "other")
	w.policy(t, "to-db", `{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`)
	w.settle(t)
	refused(t, other, "tcp", db.at(8080))
	c, err := dial(t, web.ns, "tcp", db.at(8080).String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w.stop()
	refused(t, other, "tcp", db.at(8080)) // nobody is there, but the rules are
	w.start(t)
	w.settle(t)
	refused(t, other, "tcp", db.at(8080))
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], []byte("still here")) {
		t.Errorf("after the restart: %q, %v", buf[:n], err)
	}
}

func TestRulesAndSetsThatSomebodyChangesArePutBack(t *testing.T) {
	w := newWorld(t)
	db, web, other := w.pod(t, 0, "shop", "db", "app=db"), w.pod(t, 0, "shop", "web", "app=web"), w.pod(t, 0, "shop", "other")
	w.policy(t, "to-db", `{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`)
	w.settle(t)
	k := w.enforcer.kernels[0]
	sets, err := k.list()
	if err != nil {
		t.Fatal(err)
	}
	for what, edit := range map[string]func(){
		"jump":  func() { run(t, w.nodes[0], "iptables", "-t", "mangle", "-F", "FORWARD") },
		"chain": func() { run(t, w.nodes[0], "iptables", "-t", "mangle", "-F", "GITOPSD-G-FORWARD") },
		"sets": func() {
			for name := range sets {
				if err := k.link.IpsetFlush(name); err != nil {
					t.Error(err)
				}
			}
		},
	} {
		edit()
		becomes(t, false, other.ns, "tcp", db.at(8080).String(), what+" put back")
		becomes(t, true, web.ns, "tcp", db.at(8080).String(), what+" put back")
	}
}

func TestNothingIsLeftAfterCleanup(t *testing.T) {
	w := newWorld(t)
	w.pod(t, 0, "shop", "db")
	w.policy(t, "closed", `{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {}}]}]}`)
	w.settle(t)
	w.stop()
	if err := netns.Do(w.nodes[0], func() error { return Cleanup(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"iptables-save", "ip6tables-save"} {
		if save := run(t, w.nodes[0], program); strings.Contains(save, chainPrefix) {
			t.Errorf("%s still shows\n%s", program, save)
		}
	}
	for _, k := range w.enforcer.kernels {
		if left, err := k.list(); err != nil || len(left) > 0 {
			t.Errorf("sets left: %v, %v", left, err)
		}
	}
}

func TestAPodThatGoesLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	w.policy(t, "closed", `{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}`)
	p, far := w.pod(t, 0, "shop", "p"), w.pod(t, 1, "shop", "far")
	becomes(t, true, far.ns, "tcp", p.at(8080).String(), "a peer")
	err := netns.Do(w.nodes[0], func() error { return w.nets[0].Detach(t.Context(), string(p.obj.UID)) })
	if err != nil {
		t.Fatal(err)
	}
	w.must(t, func(ctx context.Context) error {
		return w.client.CoreV1().Pods("shop").Delete(ctx, "p", metav1.DeleteOptions{})
	})
	deadline := time.Now().Add(patience)
	for {
		w.settle(t)
		left := ""
		for _, k := range w.enforcer.kernels {
			have, err := k.list()
			if err != nil {
				t.Fatal(err)
			}
			for name, members := range have {
				left += fmt.Sprintln(name, members)
			}
		}
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("sets left:\n%s", left)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestANodeThatStartsWhileTheAPIIsAwayEnforcesWhatItKnew(t *testing.T) {
	w := newWorld(t)
	w.policy(t, "to-db", `{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`)
	w.settle(t)
	web, other, old := w.pod(t, 0, "shop", "web", "app=web"), w.pod(t, 0, "shop", "other"), w.pod(t, 0, "shop", "old", "app=db")
	far := w.pod(t, 1, "shop", "far", "app=web")
	becomes(t, true, far.ns, "tcp", old.at(8080).String(), "a peer of another node")
	w.stop()
	w.enforcer.writtenAt = time.Time{} // as if the last write had been a while ago
	if _, err := w.enforcer.keep(w.enforcer.knownPolicies(), true); err != nil {
		t.Fatal(err)
	}
	// A host that has restarted has no rules either.
	if err := netns.Do(w.nodes[0], func() error { return Cleanup(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	opens(t, other, "tcp", old.at(8080))

	away := errors.New("the API is away")
	var back atomic.Bool
	w.client.PrependReactor("list", "*", func(ktesting.Action) (bool, runtime.Object, error) { return !back.Load(), nil, away })
	w.client.PrependWatchReactor("*", func(ktesting.Action) (bool, watch.Interface, error) { return !back.Load(), nil, away })
	w.startAlone(t)
	fresh := w.pod(t, 0, "shop", "fresh", "app=db")
	for _, to := range []*aPod{old, fresh} {
		refused(t, other, "tcp", to.at(8080))
		opens(t, web, "tcp", to.at(8080))
		opens(t, far, "tcp", to.at(8080))
	}

	back.Store(true)
	w.drop(t, "to-db")
	becomes(t, true, other.ns, "tcp", fresh.at(8080).String(), "without the policy, which went while the API was away")
}

// Between a Pod's end at the API and its teardown it still runs, for as long as its grace period and the node's absence last.
func TestAPodThatTheAPIForgotWhileNobodyLookedIsGuarded(t *testing.T) {
	w := newWorld(t)
	db, web, other := w.pod(t, 0, "shop", "db", "app=db"), w.pod(t, 0, "shop", "web", "app=web"), w.pod(t, 0, "shop", "other")
	w.stop() // before there was any policy
	w.must(t, func(ctx context.Context) error {
		return w.client.CoreV1().Pods("shop").Delete(ctx, "db", metav1.DeleteOptions{})
	})
	w.must(t, func(ctx context.Context) error { // another of that name, of which policies say something else
		successor := db.obj.DeepCopy()
		successor.UID, successor.Labels, successor.Status = "successor", nil, corev1.PodStatus{}
		_, err := w.client.CoreV1().Pods("shop").Create(ctx, successor, metav1.CreateOptions{})
		return err
	})
	w.policy(t, "to-db", `{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`)
	w.start(t)
	becomes(t, false, other.ns, "tcp", db.at(8080).String(), "a policy of meanwhile")
	opens(t, web, "tcp", db.at(8080))
}
