package network

import (
	"testing"
	"time"

	"github.com/gitopsd/gitopsd/test/netns"
)

// TestAPodReceivesAndSendsNoFasterThanItMay compares rates with each other: a quarter of the bandwidth takes some four times as long, and what has no limit a small part of that.
func TestAPodReceivesAndSendsNoFasterThanItMay(t *testing.T) {
	n := newNode(t, netns.NewLAN(t), "10.42.1.0/24")
	free, freeIP := n.attach(t, "free")
	limited := func(uid string, b Bandwidth) (string, func() time.Duration, func() time.Duration) {
		pod := netns.New(t)
		var a Attachment
		err := netns.Do(n.ns, func() (err error) {
			a, err = n.net.Attach(t.Context(), Pod{Namespace: "default", Name: uid, UID: uid, NetNS: pod, Bandwidth: b})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		took := func(f func()) time.Duration {
			begin := time.Now()
			f()
			return time.Since(begin)
		}
		return pod, func() time.Duration { return took(func() { wantBulk(t, free, pod, a.IPs[0]) }) },
			func() time.Duration { return took(func() { wantBulk(t, pod, free, freeIP) }) }
	}
	const slow, fast = 4_000_000, 16_000_000
	_, receivesSlowly, sends := limited("slow-in", Bandwidth{Ingress: slow})
	_, receives, sendsSlowly := limited("slow-out", Bandwidth{Egress: slow})
	_, receivesFaster, _ := limited("fast-in", Bandwidth{Ingress: fast})
	_, _, sendsFaster := limited("fast-out", Bandwidth{Egress: fast})
	for _, c := range []struct {
		what                  string
		slow, faster, unbound func() time.Duration
	}{{"receiving", receivesSlowly, receivesFaster, receives}, {"sending", sendsSlowly, sendsFaster, sends}} {
		slow, faster, unbound := c.slow(), c.faster(), c.unbound()
		t.Logf("%s a MiB: %s at %d bit/s, %s at %d bit/s, %s at any", c.what, slow, 4_000_000, faster, 16_000_000, unbound)
		if slow < 2*faster {
			t.Errorf("%s at a quarter of the bandwidth takes %s instead of %s", c.what, slow, faster)
		}
		if slow < 5*unbound {
			t.Errorf("%s takes %s with a limit and %s where only the other direction has one", c.what, slow, unbound)
		}
		if least := time.Second * 8 * (1<<20 - 2*leastBurst) / 4_000_000; slow < least {
			t.Errorf("%s took %s: no less than %s is possible at that rate", c.what, slow, least)
		}
	}
}
