package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/test/netns"
)

var rollingUpdates = flag.Int("rolling-updates", 1, "how many rolling updates, there and back, a test of all ways to a Service lasts")

// way is one of the ways to the application, and what came of it.
type way struct {
	name string
	ask  func(ctx context.Context) (status int, text string, err error)

	requests int
	failures []error
	versions map[string]int
}

// use asks until ctx ends.
func (w *way) use(ctx context.Context) {
	w.versions = map[string]int{}
	for ctx.Err() == nil {
		status, text, err := w.ask(ctx)
		if ctx.Err() != nil {
			return // cut off by the test's end
		}
		w.requests++
		f := strings.Fields(text)
		if err != nil || status != http.StatusOK || len(f) < 2 {
			w.failures = append(w.failures, fmt.Errorf("%s %s: %d %s: %v", time.Now().Format("15:04:05.000"), w.name, status, text, err))
			continue
		}
		w.versions[f[1]]++
	}
}

func TestRollingUpdatesFailNoRequestByAnyWay(t *testing.T) {
	ctx, s := begin(t)
	createIngress(t, ctx, s, webIngress("web", ingressHost, ""))
	api, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	svc, err := api.CoreV1().Services("shop").Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var ways []*way
	for n, host := range s.Workers() {
		inside := s.HTTPClient(nil)
		inside.Transport.(*http.Transport).DialContext = netns.Dialer(netns.Path(host.NetNS))
		get := func(client *http.Client, url string) func(ctx context.Context) (int, string, error) {
			return func(ctx context.Context) (int, string, error) { return fetch(ctx, client, url, "") }
		}
		ingress := browser(s, host, nil)
		ways = append(ways,
			&way{name: "ClusterIP at " + host.Name, ask: get(inside, "http://"+svc.Spec.ClusterIP+"/")},
			&way{name: "NodePort of " + host.Name, ask: get(s.HTTPClient(nil), s.URL(n))},
			&way{name: "ingress of " + host.Name, ask: func(ctx context.Context) (int, string, error) { return ingress(ctx, false) }})
	}
	for _, w := range ways {
		until(t, ctx, w.name, func() (bool, any) {
			status, text, err := w.ask(ctx)
			return status == http.StatusOK, fmt.Sprint(status, text, err)
		})
	}
	load, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for _, w := range ways {
		wg.Go(func() { w.use(load) })
	}
	for range *rollingUpdates {
		for _, next := range []struct {
			version  string
			replicas int32
		}{{"v2", 4}, {"v1", 3}} {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			release(t, ctx, next.version, next.replicas)
			cancel()
		}
	}
	stop()
	wg.Wait()
	for _, w := range ways {
		if len(w.failures) > 0 {
			t.Errorf("%s: %d of %d requests failed: %v", w.name, len(w.failures), w.requests, errors.Join(w.failures[:min(5, len(w.failures))]...))
		}
		if w.versions["v1"] == 0 || w.versions["v2"] == 0 {
			t.Errorf("%s: answers by version: %v, want both", w.name, w.versions)
		}
		t.Logf("%s: %d requests, %v", w.name, w.requests, w.versions)
	}
}
