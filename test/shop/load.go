package shop

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Answer is what one request got.
type Answer struct {
	Pod, Version string
}

// URL is the application's address on one worker.
func (s *Shop) URL(worker int) string {
	return fmt.Sprintf("http://%s:%d/", s.Workers()[worker%len(s.Workers())].IP, NodePort)
}

// Ask sends one request over a connection of its own.
func (s *Shop) Ask(ctx context.Context, url string) (Answer, error) {
	return ask(ctx, s.HTTPClient(nil), url)
}

func ask(ctx context.Context, client *http.Client, url string) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Answer{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, err
	}
	f := strings.Fields(string(body))
	if resp.StatusCode != http.StatusOK || len(f) < 2 {
		return Answer{}, fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return Answer{Pod: f[0], Version: f[1]}, nil
}

// Open waits until the application has answered on every worker, for the first time since its Service was made: a Pod is Ready some
// milliseconds before the last node's rules lead to it. Nothing but requests tells when they do.
func (s *Shop) Open(ctx context.Context) error {
	client := s.HTTPClient(nil)
	for worker := range s.Workers() {
		var last error
		err := wait.PollUntilContextCancel(ctx, 2*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			_, last = ask(ctx, client, s.URL(worker))
			return last == nil, nil
		})
		if err != nil {
			return fmt.Errorf("wait for the first answer of %s: %w: %w", s.URL(worker), err, last)
		}
	}
	return nil
}

// EveryReplica sends requests to one worker until each of n replicas has answered.
func (s *Shop) EveryReplica(ctx context.Context, worker, n int) (map[string]int, error) {
	client := s.HTTPClient(nil)
	seen := map[string]int{}
	for len(seen) < n {
		a, err := ask(ctx, client, s.URL(worker))
		if err != nil {
			return seen, fmt.Errorf("%w, after these had answered: %v", err, seen)
		}
		seen[a.Pod]++
	}
	return seen, nil
}

// Load is users who send one request after another, over new connections and through all workers in turn.
type Load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	report Report
}

// Report is what the users got.
type Report struct {
	Requests int
	// Slowest is the longest that one of them waited for an answer.
	Slowest time.Duration
	// Errors are the first few failures; Failed counts all.
	Errors []error
	Failed int
	// Pods counts answers by replica, Versions by version.
	Pods, Versions map[string]int
}

// Load lets users come; Stop sends them away.
func (s *Shop) Load(users int) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel, report: Report{Pods: map[string]int{}, Versions: map[string]int{}}}
	client := s.HTTPClient(nil)
	for user := range users {
		l.wg.Go(func() {
			for n := user; ctx.Err() == nil; n++ {
				start := time.Now()
				a, err := ask(ctx, client, s.URL(n))
				if ctx.Err() != nil {
					return // cut off by Stop, not by the application
				}
				l.count(a, err, time.Since(start))
			}
		})
	}
	return l
}

func (l *Load) count(a Answer, err error, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &l.report
	r.Requests++
	r.Slowest = max(r.Slowest, took)
	if err == nil {
		r.Pods[a.Pod]++
		r.Versions[a.Version]++
		return
	}
	const shown = 5
	if r.Failed++; len(r.Errors) < shown {
		r.Errors = append(r.Errors, fmt.Errorf("%s: %w", time.Now().Format("15:04:05.000"), err))
	}
}

// Requests is how many were answered or failed until now.
func (l *Load) Requests() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.report.Requests
}

// Stop ends the load and returns what came of it.
func (l *Load) Stop() Report {
	l.cancel()
	l.wg.Wait()
	return l.report
}
