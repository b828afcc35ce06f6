package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// recorder is a step that notes what happens to it.
type recorder struct {
	name  string
	needs []string
	log   *journal
	setup func(ctx context.Context) error
	down  error
}

type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(s string) { j.mu.Lock(); j.lines = append(j.lines, s); j.mu.Unlock() }

func (r recorder) Name() string    { return r.name }
func (r recorder) Needs() []string { return r.needs }
func (r recorder) Setup(ctx context.Context, _ *Sandbox) error {
	r.log.add("begin " + r.name)
	if r.setup != nil {
		if err := r.setup(ctx); err != nil {
			return err
		}
	}
	r.log.add("end " + r.name)
	return nil
}
func (r recorder) Teardown(context.Context, *Sandbox) error {
	r.log.add("down " + r.name)
	return r.down
}

func before(t *testing.T, lines []string, a, b string) {
	t.Helper()
	i, j := slices.Index(lines, a), slices.Index(lines, b)
	if i < 0 || j < 0 || i > j {
		t.Errorf("%q must come before %q; got %v", a, b, lines)
	}
}

func TestAStepBeginsWhenWhatItNeedsIsThere(t *testing.T) {
	var j journal
	meet := make(chan struct{})
	p := Plan{Steps: []Step{
		recorder{name: "dir", log: &j},
		// These two wait for each other: they must be under way at the same time.
		recorder{name: "volumes", needs: []string{"dir"}, log: &j, setup: func(context.Context) error { meet <- struct{}{}; return nil }},
		recorder{name: "ns", needs: []string{"dir"}, log: &j, setup: func(context.Context) error { <-meet; return nil }},
		recorder{name: "net", needs: []string{"ns"}, log: &j},
		recorder{name: "hosts", needs: []string{"net"}, log: &j},
	}, Late: []string{"net", "hosts"}}
	if err := p.Setup(context.Background(), &Sandbox{}, func() { j.add("prepared") }); err != nil {
		t.Fatal(err)
	}
	before(t, j.lines, "end dir", "begin volumes")
	before(t, j.lines, "end dir", "begin ns")
	before(t, j.lines, "end ns", "begin net")
	before(t, j.lines, "end net", "begin hosts")
	before(t, j.lines, "end volumes", "prepared")
	before(t, j.lines, "end ns", "prepared")
}

func TestPreparedDoesNotWaitForLateSteps(t *testing.T) {
	var j journal
	prepared := make(chan struct{})
	p := Plan{Steps: []Step{
		recorder{name: "ns", log: &j},
		recorder{name: "net", needs: []string{"ns"}, log: &j, setup: func(context.Context) error {
			select {
			case <-prepared:
				return nil
			case <-time.After(20 * time.Second):
				return errors.New("prepared was not called while the late step was under way")
			}
		}},
	}, Late: []string{"net"}}
	if err := p.Setup(context.Background(), &Sandbox{}, func() { close(prepared) }); err != nil {
		t.Fatal(err)
	}
}

func TestAFailureEndsTheSetupAndIsNamed(t *testing.T) {
	var j journal
	p := Plan{Steps: []Step{
		recorder{name: "bad", log: &j, setup: func(context.Context) error { return errors.New("no room") }},
		recorder{name: "slow", log: &j, setup: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		recorder{name: "after", needs: []string{"bad"}, log: &j},
	}}
	err := p.Setup(context.Background(), &Sandbox{}, func() { t.Error("prepared was called") })
	var f *Failure
	if !errors.As(err, &f) || f.Step != "bad" || f.Error() != "no room" {
		t.Errorf("got %v", err)
	}
	if slices.Contains(j.lines, "begin after") {
		t.Error("a step began though what it needs had failed")
	}
}

func TestTeardownGoesBackwardsAndUndoesEverything(t *testing.T) {
	var j journal
	p := Plan{Steps: []Step{
		recorder{name: "a", log: &j}, recorder{name: "b", log: &j, down: errors.New("busy")}, recorder{name: "c", log: &j},
	}}
	err := p.Teardown(context.Background(), &Sandbox{})
	if err == nil || !strings.Contains(err.Error(), "busy") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"down c", "down b", "down a"}, j.lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestEtc plays the scripts in testdata: "hosts", "hostname" and "resolv" print what a Pod, given as YAML, finds in those files of /etc.
func TestEtc(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		host := ""
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "host-resolv" {
				host = d.Input
				return ""
			}
			pod := &v1.Pod{}
			if err := yaml.UnmarshalStrict([]byte(d.Input), pod); err != nil {
				d.Fatalf(t, "%v", err)
			}
			s := &Sandbox{Pod: pod, IPs: []string{"10.42.0.5"}}
			s.Hostname, s.FQDN = hostnames(s, "node-1", "cluster.local")
			switch d.Cmd {
			case "hosts":
				return hosts(s)
			case "hostname":
				return fmt.Sprintf("%s (%d) %s\n", s.Hostname, len(s.Hostname), s.FQDN)
			case "resolv":
				var cluster []string
				if d.HasArg("dns") {
					cluster = []string{"10.43.0.10"}
				}
				return resolvConf(pod, host, cluster, "cluster.local")
			}
			d.Fatalf(t, "unknown command %q", d.Cmd)
			return ""
		})
	})
}
