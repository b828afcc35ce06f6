package scheduler_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
)

func named(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.SchedulerName = name }
}

func TestEachSchedulerNameHasItsOwnPluginsAndOneThatIsNobodysIsLeftAlone(t *testing.T) {
	config, err := profile.Read([]byte(`
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: spreading
- schedulerName: packing
  plugins:
    score: {disabled: [{name: "*"}], enabled: [{name: NodeResourcesFit}]}
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated}}
`))
	if err != nil {
		t.Fatal(err)
	}
	e := controllerstest.New(t)
	s := scheduler.New(e.Client, e.Factory, e.Events, config)
	e.Start(t, s.Run)
	e.Node(t, "n1", "4", "4Gi")
	e.Node(t, "n2", "4", "4Gi")
	node := func(name string) string {
		controllerstest.Eventually(t, name+" is bound", func() bool { return get(t, e, name).Spec.NodeName != "" })
		return get(t, e, name).Spec.NodeName
	}
	create(t, e, "nobodys", "100m") // default-scheduler has no profile here
	create(t, e, "first", "1", named("packing"))
	there := node("first")
	create(t, e, "packed", "1", named("packing"))
	if got := node("packed"); got != there {
		t.Errorf("a Pod of the packing profile is on %s, want it beside the other on %s", got, there)
	}
	create(t, e, "spread", "1", named("spreading"))
	if got := node("spread"); got == there {
		t.Errorf("a Pod of the spreading profile is on %s, where the others are", got)
	}
	if p := get(t, e, "nobodys"); p.Spec.NodeName != "" || says(p) != "" {
		t.Errorf("a Pod of no profile is bound to %q and says %q", p.Spec.NodeName, says(p))
	}
}
