package e2e

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/shop"
)

// Each part is killed half-way through a rolling update under load. The update completes, users notice nothing, and Pods that it does not
// concern keep their containers and addresses.
func TestRollingUpdateSurvivesTheDeathOf(t *testing.T) {
	for _, victim := range []struct {
		component string
		// restarted says that something else than the test starts it again.
		restarted bool
	}{
		{cluster.Gitopsd, false},
		{cluster.Node + "/w1", false},
		{cluster.Containerd + "/w1", true},
	} {
		t.Run(victim.component, func(t *testing.T) {
			ctx, s := begin(t)
			others := bystanders(t, ctx)
			users := s.Load(2)
			if _, err := s.Release(ctx, "v2", 6); err != nil {
				t.Fatal(err)
			}
			err := s.Deployment(ctx, "its first new replica", func(d *appsv1.Deployment) bool {
				return d.Status.UpdatedReplicas > 0 && d.Status.UpdatedReplicas < 6
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Kill(victim.component); err != nil {
				t.Fatal(err)
			}
			if !victim.restarted {
				if err := s.Start(victim.component); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.APIReady(ctx); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if err := s.Deployed(ctx, "v2", 6); err != nil {
				t.Fatal(err)
			}
			t.Logf("completed %s after the restart", time.Since(start).Round(time.Millisecond))
			everyReplica(t, ctx, 6)
			noErrors(t, users.Stop())
			for _, o := range others {
				o.unharmed(t, ctx)
			}
			pods, err := s.Pods(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(pods) != 6 {
				t.Errorf("Pods after the update: %v, want 6", names(pods))
			}
			for i := range pods {
				for _, c := range pods[i].Status.ContainerStatuses {
					if c.RestartCount != 0 {
						t.Errorf("Pod %s: its container was restarted %d times", pods[i].Name, c.RestartCount)
					}
				}
			}
		})
	}
}

// With no update under way either: the node daemon and the control plane go, and come back, and nothing that runs notices.
func TestPodsRunOnWhileEverythingAboveThemRestarts(t *testing.T) {
	ctx, s := begin(t)
	others := bystanders(t, ctx)
	users := s.Load(2)
	for _, component := range []string{cluster.Gitopsd, cluster.Node + "/w1", cluster.Node + "/w2"} {
		if err := s.Kill(component); err != nil {
			t.Fatal(err)
		}
	}
	everyReplica(t, ctx, 3) // while nobody is there to look after them
	for _, component := range []string{cluster.Gitopsd, cluster.Node + "/w1", cluster.Node + "/w2"} {
		if err := s.Start(component); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.APIReady(ctx); err != nil {
		t.Fatal(err)
	}
	release(t, ctx, "v2", 3)
	everyReplica(t, ctx, 3)
	noErrors(t, users.Stop())
	for _, o := range others {
		o.unharmed(t, ctx)
	}
}

func TestPodsOfALostWorkerRunElsewhereAndTheWorkerComesBack(t *testing.T) {
	ctx, s := begin(t)
	lost, other := s.Workers()[0].Name, 1
	if err := s.Unplug(lost); err != nil {
		t.Fatal(err)
	}
	joined := false
	t.Cleanup(func() {
		if !joined {
			if err := s.Plug(lost); err != nil {
				t.Error(err)
			}
		}
	})
	if err := s.Node(ctx, lost, false); err != nil {
		t.Fatal(err)
	}
	if err := s.RunsOutside(ctx, lost, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := s.EveryReplica(ctx, other, 3); err != nil {
		t.Error(err)
	}
	if err := s.Plug(lost); err != nil {
		t.Fatal(err)
	}
	joined = true
	if err := s.Node(ctx, lost, true); err != nil {
		t.Fatal(err)
	}
	release(t, ctx, "v2", 4)
	everyReplica(t, ctx, 4)
	pods, err := s.Pods(ctx)
	if err != nil {
		t.Fatal(err)
	}
	there := 0
	for i := range pods {
		if pods[i].Spec.NodeName == lost && shop.Ready(&pods[i]) {
			there++
		}
	}
	if there == 0 {
		t.Errorf("no Pod runs on %s after it came back: %v", lost, names(pods))
	}
}

func TestKilledContainerIsRestartedInItsPlace(t *testing.T) {
	ctx, s := begin(t)
	b := bystanders(t, ctx)[0]
	if err := s.KillContainer(b.start.Status.ContainerStatuses[0].ContainerID); err != nil {
		t.Fatal(err)
	}
	if err := s.Pod(ctx, b.name, "one restart, and be ready", restartedOnce); err != nil {
		t.Fatal(err)
	}
}
