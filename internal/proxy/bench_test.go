package proxy

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/gitopsd/gitopsd/test/netns"
)

// BenchmarkOneMoreService measures from the creation of a Service and its EndpointSlice to the first connection through it.
func BenchmarkOneMoreService(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b)
			client, _ := w.pod(b, 0, "client")
			server, serverIP := w.pod(b, 1, "server")
			serve(b, server, "b", 8080)
			add := func(i int) string {
				ip := fmt.Sprintf("10.43.%d.%d", i/200, 1+i%200)
				name := fmt.Sprint("svc-", i)
				w.create(b, name, ip, serverIP)
				return ip + ":80"
			}
			start := time.Now()
			var last string
			for i := range n {
				last = add(i)
			}
			connects(b, client, last)
			all := time.Since(start)
			w.settle(b)
			w.settle(b)
			b.ResetTimer()
			for i := range b.N {
				connects(b, client, add(n+i))
			}
			b.ReportMetric(all.Seconds()*1e3, "ms-for-the-first-ones")
		})
	}
}

// connects tries until a connection succeeds. A Service without rules yet is silent or refuses.
func connects(b testing.TB, ns, addr string) {
	err := netns.Do(ns, func() error {
		deadline := time.Now().Add(time.Minute)
		for {
			c, err := net.DialTimeout("tcp", addr, 2*time.Millisecond)
			if err == nil {
				return c.Close()
			}
			if time.Now().After(deadline) {
				return err
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
}
