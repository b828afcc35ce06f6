package gitops

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/directive"
	"github.com/gitopsd/gitopsd/internal/source"
)

// The scripts in testdata/steps hold a commit's objects, one a line as "Kind name annotation=value;annotation=value", and print the steps that apply it. A
// prefix "was" in a later line of the input gives the objects of the commit before; "compare" then prints with what the cluster is compared at each step.
func TestACommitIsAppliedInSteps(t *testing.T) {
	datadriven.Walk(t, "testdata/steps", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var now, was []*apply.Object
			for line := range strings.Lines(d.Input) {
				line = strings.TrimSpace(line)
				if rest, old := strings.CutPrefix(line, "was "); old {
					was = append(was, scripted(t, d, rest))
				} else {
					now = append(now, scripted(t, d, line))
				}
			}
			next := newRevision(source.Commit{Hash: "new"}, shape{}, now)
			before := newRevision(source.Commit{Hash: "old"}, shape{}, was)
			on := directive.Upgrade
			if d.HasArg("install") {
				on, before = directive.Install, nil
			}
			steps := stepsOf(next, on)
			var b strings.Builder
			switch d.Cmd {
			case "steps":
				for i, s := range steps {
					fmt.Fprintf(&b, "%d %s:%s%s", i+1, s.title(), listed("", s.objects), listed("hook ", s.hooks))
					if i == lastOfSync(steps) {
						b.WriteString(", then prune")
					}
					b.WriteByte('\n')
				}
				for _, s := range stepsAfterFailure(next, on) {
					fmt.Fprintf(&b, "on failure %s:%s\n", s.title(), listed("hook ", s.hooks))
				}
				fmt.Fprintf(&b, "one by one: %v\n", inSteps(steps))
			case "compare":
				for i, s := range steps {
					fmt.Fprintf(&b, "%d %s:", i+1, s.title())
					for _, o := range upTo(next, before, steps, i).objects {
						from := "old"
						if next.byKey[o.Key] == o {
							from = "new"
						}
						fmt.Fprintf(&b, " %s %s", from, o.Key.Name)
					}
					b.WriteByte('\n')
				}
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			return b.String()
		})
	})
}

func listed(what string, objects []*apply.Object) string {
	var b strings.Builder
	for _, o := range objects {
		fmt.Fprintf(&b, " %s%s", what, o.Key.Name)
	}
	return b.String()
}

func scripted(t *testing.T, d *datadriven.TestData, line string) *apply.Object {
	t.Helper()
	kind, rest, _ := strings.Cut(line, " ")
	name, rest, _ := strings.Cut(rest, " ")
	annotations := map[string]string{}
	for a := range strings.SplitSeq(rest, ";") {
		if k, v, ok := strings.Cut(a, "="); ok {
			annotations[k] = v
		}
	}
	asks, wrong := directive.Read(annotations)
	if wrong != nil {
		d.Fatalf(t, "%s: %v", line, wrong)
	}
	ref := v1alpha1.ObjectRef{Version: "v1", Kind: kind, Namespace: "shop", Name: name}
	desired := &unstructured.Unstructured{}
	switch kind {
	case "Namespace":
		ref.Namespace = ""
	case "CustomResourceDefinition": // of the kind of its name
		ref.Group, ref.Namespace = "apiextensions.k8s.io", ""
		desired.Object = map[string]any{"spec": map[string]any{"group": "", "names": map[string]any{"kind": name}}}
	}
	return &apply.Object{Key: diff.KeyOf(ref), Ref: ref, Asks: asks, Desired: desired}
}

func TestAHookIsStartedFollowedAndEnded(t *testing.T) {
	const run, earlier, mine = "run-2", "run-1", "gitopsd-system.shop"
	job := func(run, condition, application string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{
			"labels": map[string]any{v1alpha1.LabelApplication: application}, "annotations": map[string]any{v1alpha1.AnnotationHookRun: run},
		}}}
		if condition != "" {
			u.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": condition, "status": "True", "message": "so it is"}}}
		}
		return u
	}
	pod := func(phase string) *unstructured.Unstructured {
		u := job(run, "Ready", mine)
		u.Object["apiVersion"], u.Object["kind"] = "v1", "Pod"
		u.Object["status"].(map[string]any)["phase"] = phase
		return u
	}
	guarded := job("", "", mine)
	guarded.SetAnnotations(map[string]string{v1alpha1.AnnotationPrune: "disabled"})
	deleting := job(earlier, "Complete", mine)
	deleting.Object["metadata"].(map[string]any)["deletionTimestamp"] = "2026-03-01T12:00:00Z"
	for name, c := range map[string]struct {
		annotations map[string]string
		adopted     bool
		noted       *v1alpha1.HookStatus
		live        *unstructured.Unstructured
		act         hookAct
		result      string
	}{
		"that is not there is started":                 {nil, false, nil, nil, hookStart, hookRunning},
		"of which an earlier run left an object":       {nil, false, nil, job(earlier, "Complete", mine), hookClear, hookRunning},
		"whose earlier object is being deleted":        {nil, false, nil, deleting, hookWait, hookRunning},
		"that is never deleted and has run before":     {map[string]string{v1alpha1.AnnotationHookDelete: "never"}, false, nil, job(earlier, "", mine), hookEnd, hookSucceeded},
		"that is never deleted and was no hook before": {map[string]string{v1alpha1.AnnotationHookDelete: "never"}, false, nil, job("", "", mine), hookEnd, hookFailed},
		"that runs":                      {nil, false, &v1alpha1.HookStatus{Run: run, Result: hookRunning}, job(run, "", mine), hookWait, hookRunning},
		"that completed":                 {nil, false, &v1alpha1.HookStatus{Run: run, Result: hookRunning}, job(run, "Complete", mine), hookEnd, hookSucceeded},
		"that failed":                    {nil, false, nil, job(run, "Failed", mine), hookEnd, hookFailed},
		"that succeeded and was deleted": {nil, false, &v1alpha1.HookStatus{Run: run, Result: hookSucceeded, Deleted: true}, nil, hookEnd, hookSucceeded},
		"that failed in an earlier run and is gone":           {nil, false, &v1alpha1.HookStatus{Run: earlier, Result: hookFailed}, nil, hookStart, hookRunning},
		"whose name somebody else's object has":               {nil, false, nil, job("", "Complete", ""), hookEnd, hookFailed},
		"whose Pod is ready and has not ended":                {nil, false, nil, pod("Running"), hookWait, hookRunning},
		"whose Pod has ended well":                            {nil, false, nil, pod("Succeeded"), hookEnd, hookSucceeded},
		"whose Pod has failed":                                {nil, false, nil, pod("Failed"), hookEnd, hookFailed},
		"that vanished before anybody saw it end runs again":  {nil, false, &v1alpha1.HookStatus{Run: run, Result: hookRunning}, nil, hookStart, hookRunning},
		"whose name an object has that Git made before":       {nil, false, nil, job("", "", mine), hookClear, hookRunning},
		"whose name an object has that was there before Git":  {nil, true, nil, job("", "", mine), hookEnd, hookFailed},
		"whose name an object has that is never to be pruned": {nil, false, nil, guarded, hookEnd, hookFailed},
	} {
		t.Run(name, func(t *testing.T) {
			asks, wrong := directive.Read(c.annotations)
			if wrong != nil {
				t.Fatal(wrong)
			}
			asks.Hooks = []directive.Hook{{Phase: directive.PreSync}}
			if c.annotations != nil {
				asks.Delete.Kept = true
			}
			v := decideHook(&apply.Object{Asks: asks}, mine, run, c.adopted, c.noted, c.live, nil)
			if v.act != c.act || v.result != c.result {
				t.Errorf("%s, %s (%s); want %s, %s", v.act, v.result, v.message, c.act, c.result)
			}
		})
	}
}

func TestAHookIsNotedOnceInEachPhase(t *testing.T) {
	at := func(name, phase, run, result string) v1alpha1.HookStatus {
		return v1alpha1.HookStatus{ObjectRef: v1alpha1.ObjectRef{Kind: "Job", Name: name}, Phase: phase, Run: run, Result: result}
	}
	var list []v1alpha1.HookStatus
	for _, s := range []v1alpha1.HookStatus{
		at("a", "PreSync", "1", hookRunning), at("b", "PreSync", "1", hookRunning), at("a", "PreSync", "1", hookSucceeded), at("a", "PostSync", "1", hookSucceeded),
		at("a", "PreSync", "2", hookRunning), at("a", "PreSync", "2", hookFailed),
	} {
		list = note(list, s)
	}
	want := []v1alpha1.HookStatus{at("a", "PreSync", "2", hookFailed), at("b", "PreSync", "1", hookRunning), at("a", "PostSync", "1", hookSucceeded)}
	if d := cmp.Diff(want, list); d != "" {
		t.Errorf("notes (-want +got):\n%s", d)
	}
}
