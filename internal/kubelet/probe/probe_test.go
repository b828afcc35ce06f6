package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestAJudgementChangesAfterAsManyResultsInARowAsItsThreshold(t *testing.T) {
	for _, c := range []struct {
		name    string
		counter Counter
		results string // + success, - failure
		want    string // T or F after each
	}{
		{"one failure is enough", Counter{Success: 1, Failure: 1, OK: true}, "+-+", "TFT"},
		{"three failures in a row", Counter{Success: 1, Failure: 3, OK: true}, "--+--" + "-", "TTTTTF"},
		{"two successes in a row", Counter{Success: 2, Failure: 1}, "+-++", "FFFT"},
		{"thresholds of zero count as one", Counter{}, "+-", "TF"},
	} {
		got := ""
		for _, r := range c.results {
			before := c.counter.OK
			if changed := c.counter.Add(r == '+'); changed != (before != c.counter.OK) {
				t.Errorf("%s: Add reports a change wrongly", c.name)
			}
			got += map[bool]string{true: "T", false: "F"}[c.counter.OK]
		}
		if got != c.want {
			t.Errorf("%s: %s gives %s, want %s", c.name, c.results, got, c.want)
		}
	}
}

func target(t *testing.T, rawURL string) (Target, int) {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return Target{IP: u.Hostname(), Container: &v1.Container{Name: "c", Ports: []v1.ContainerPort{{Name: "web", ContainerPort: int32(port)}}}}, port
}

func TestHTTPChecks(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			fmt.Fprint(w, "fine")
		case "/header":
			if r.Header.Get("X-Probe") != "yes" || r.Host != "name.example" || !strings.HasPrefix(r.UserAgent(), "kube-probe/") {
				w.WriteHeader(400)
			}
		case "/elsewhere":
			http.Redirect(w, r, "http://192.0.2.1/never", http.StatusFound)
		case "/here":
			http.Redirect(w, r, "/bad", http.StatusFound)
		default:
			w.WriteHeader(500)
		}
	}))
	defer srv.Close()
	to, port := target(t, srv.URL)
	for _, c := range []struct {
		path string
		port intstr.IntOrString
		ok   bool
	}{
		{"/ok", intstr.FromInt(port), true},
		{"ok", intstr.FromString("web"), true},
		{"/header", intstr.FromInt(port), true},
		{"/elsewhere", intstr.FromInt(port), true},
		{"/here", intstr.FromInt(port), false},
		{"/bad", intstr.FromInt(port), false},
		{"/ok", intstr.FromString("none"), false},
	} {
		r := Check(context.Background(), v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: c.path, Port: c.port, HTTPHeaders: []v1.HTTPHeader{
			{Name: "X-Probe", Value: "yes"}, {Name: "Host", Value: "name.example"},
		}}}, to)
		if r.OK != c.ok || !r.OK && r.Message == "" {
			t.Errorf("%s on %s: %+v, want ok %v", c.path, c.port.String(), r, c.ok)
		}
	}
}

func TestWhereNothingListensTheResultIsEarly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to, port := target(t, "http://"+l.Addr().String())
	h := v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt(port)}}
	if r := Check(context.Background(), h, to); !r.OK {
		t.Errorf("listening: %+v", r)
	}
	l.Close()
	if r := Check(context.Background(), h, to); r.OK || !r.Early {
		t.Errorf("not listening: %+v", r)
	}
}

func TestExecChecksShowTheCommandsOutput(t *testing.T) {
	for _, c := range []struct {
		status uint32
		output string
		err    error
		want   Result
	}{
		{0, "fine", nil, Result{OK: true}},
		{1, "disk full", nil, Result{Message: "disk full"}},
		{3, "", nil, Result{Message: `command ["check"] ended with exit code 3`}},
		{0, "", context.DeadlineExceeded, Result{Message: `command timed out: ["check"]`}},
		{0, "", errors.New("no such container"), Result{Message: `command ["check"]: no such container`}},
	} {
		got := Check(context.Background(), v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"check"}}}, Target{
			Exec: func(context.Context, []string) (uint32, string, error) { return c.status, c.output, c.err },
		})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// told collects what a Watch tells.
type told struct {
	judged          chan string
	checked, failed atomic.Int32
}

func (l *told) Judged(k Kind, ok bool, _ string)  { l.judged <- fmt.Sprint(k, " ", ok) }
func (l *told) Checked(Kind, bool, time.Duration) { l.checked.Add(1) }
func (l *told) Failed(Kind, string)               { l.failed.Add(1) }

func (l *told) next(t *testing.T) string {
	t.Helper()
	select {
	case s := <-l.judged:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was told within 20 s")
		return ""
	}
}

func TestAProgramThatListensSoonIsReadySoon(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	to, port := target(t, "http://"+addr)
	const period = 30
	to.Container.ReadinessProbe = &v1.Probe{PeriodSeconds: period, TimeoutSeconds: 1, ProbeHandler: v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt(port)}}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lis := &told{judged: make(chan string, 9)}
	go Watch(ctx, to, Known{}, lis)
	listened := make(chan net.Listener, 1)
	time.AfterFunc(100*time.Millisecond, func() { // the program's own start
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Error(err)
		}
		listened <- l
	})
	began := time.Now()
	if got := lis.next(t); got != "Readiness true" {
		t.Errorf("told %q", got)
	}
	if took := time.Since(began); took > period*time.Second/3 {
		t.Errorf("it took %v, though the program listened after 100 ms", took)
	}
	if n := lis.failed.Load(); n != 0 {
		t.Errorf("%d failures were reported for a program that had only just been started", n)
	}
	(<-listened).Close()
}

func TestLivenessBeginsWhenTheStartupProbeHasSucceeded(t *testing.T) {
	var startup, liveness atomic.Int32
	c := &v1.Container{Name: "c",
		StartupProbe:  &v1.Probe{PeriodSeconds: 1, FailureThreshold: 5, ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"startup"}}}},
		LivenessProbe: &v1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"liveness"}}}},
	}
	to := Target{Container: c, Exec: func(_ context.Context, cmd []string) (uint32, string, error) {
		if cmd[0] == "startup" {
			if startup.Add(1) < 2 {
				return 1, "not yet", nil
			}
			return 0, "", nil
		}
		if startup.Load() < 2 {
			t.Error("liveness was checked before the container had started")
		}
		liveness.Add(1)
		return 1, "dead", nil
	}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lis := &told{judged: make(chan string, 9)}
	go Watch(ctx, to, Known{}, lis)
	if diff := cmp.Diff([]string{"Startup true", "Liveness false"}, []string{lis.next(t), lis.next(t)}); diff != "" {
		t.Errorf("(-want +told):\n%s", diff)
	}
}

func TestWhatWasReadyBeforeARestartOfTheDaemonStaysSoUntilAProbeSaysOtherwise(t *testing.T) {
	c := &v1.Container{Name: "c", ReadinessProbe: &v1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{}}}}
	var healthy atomic.Bool
	healthy.Store(true)
	var checks atomic.Int32
	to := Target{Container: c, Exec: func(context.Context, []string) (uint32, string, error) {
		checks.Add(1)
		if healthy.Load() {
			return 0, "", nil
		}
		return 1, "", nil
	}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lis := &told{judged: make(chan string, 9)}
	go Watch(ctx, to, Known{Running: time.Second, Ready: true}, lis)
	for checks.Load() < 2 {
		time.Sleep(10 * time.Millisecond)
	}
	healthy.Store(false)
	if got := lis.next(t); got != "Readiness false" {
		t.Errorf("told %q first; a container that stays ready is no news", got)
	}
}
