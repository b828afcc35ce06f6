package replicaset

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
)

// observed reads a ReplicaSet from a command's arguments and its Pods from the lines below.
func observed(t *testing.T, d *datadriven.TestData) Observed {
	t.Helper()
	o := Observed{
		ReplicaSet: &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid-web", Generation: 1},
			Spec: appsv1.ReplicaSetSpec{
				Replicas: ptr.To[int32](1),
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
			},
		},
		Pods:       podtest.Lines(t, d.Input),
		Neighbours: map[string]int{},
		Now:        podtest.Now,
	}
	for _, p := range o.Pods {
		if p.Labels == nil {
			p.Labels = map[string]string{"app": "web"}
		}
		if p.Spec.NodeName != "" {
			o.Neighbours[p.Spec.NodeName]++
		}
	}
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "replicas":
			var n int
			arg.Scan(t, 0, &n)
			o.ReplicaSet.Spec.Replicas = ptr.To(int32(n))
		case "min-ready":
			var n int
			arg.Scan(t, 0, &n)
			o.ReplicaSet.Spec.MinReadySeconds = int32(n)
		case "deleted":
			o.ReplicaSet.DeletionTimestamp = &metav1.Time{Time: podtest.Now}
		case "creating":
			arg.Scan(t, 0, &o.Open.Creating)
		case "unsure":
			o.Open.Recreate = arg.Vals
			o.Open.Creating += len(arg.Vals)
		case "deleting":
			o.Open.Deleting = sets.New[types.UID]()
			for _, v := range arg.Vals {
				name, unsure := strings.CutSuffix(v, "?")
				uid := types.UID("uid-" + name)
				o.Open.Deleting.Insert(uid)
				if unsure {
					o.Open.Redelete = append(o.Open.Redelete, ledger.Deletion{Name: name, UID: uid})
				}
			}
		case "neighbours":
			for _, v := range arg.Vals {
				node, n, _ := strings.Cut(v, ":")
				var count int
				if _, err := fmt.Sscan(n, &count); err != nil {
					t.Fatal(err)
				}
				o.Neighbours[node] = count
			}
		default:
			t.Fatalf("no such argument: %s", arg.Key)
		}
	}
	return o
}

func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "decide":
				return printActions(Decide(observed(t, d)))
			case "status":
				var failure *Failure
				for i, arg := range d.CmdArgs {
					if arg.Key == "failure" {
						failure = &Failure{Reason: "FailedCreate", Message: strings.Join(arg.Vals, " ")}
						d.CmdArgs = append(d.CmdArgs[:i], d.CmdArgs[i+1:]...)
						break
					}
				}
				s, recheck := NextStatus(observed(t, d), failure)
				return printStatus(s) + fmt.Sprintf("look again: %v\n", recheck)
			}
			t.Fatalf("no such command: %s", d.Cmd)
			return ""
		})
	})
}

func printActions(a Actions) string {
	var b strings.Builder
	if a.Create > 0 {
		fmt.Fprintf(&b, "create %d\n", a.Create)
	}
	for _, p := range a.Delete {
		fmt.Fprintf(&b, "delete %s\n", p.Name)
	}
	for _, name := range a.Recreate {
		fmt.Fprintf(&b, "create again %s\n", name)
	}
	for _, d := range a.Redelete {
		fmt.Fprintf(&b, "delete again %s\n", d.Name)
	}
	for _, name := range a.VerifyCreated {
		fmt.Fprintf(&b, "find out whether %s was created\n", name)
	}
	for _, d := range a.VerifyDeleted {
		fmt.Fprintf(&b, "find out whether %s was deleted\n", d.Name)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func printStatus(s appsv1.ReplicaSetStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "replicas %d, labelled %d, ready %d, available %d, terminating %d\n",
		s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas, *s.TerminatingReplicas)
	for _, c := range s.Conditions {
		fmt.Fprintf(&b, "%s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	return b.String()
}
