package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/test/shop"
)

func restartedOnce(p *corev1.Pod) bool {
	return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount == 1 && shop.Ready(p)
}

func TestDriftIsSetBackAndItsAuthorNamed(t *testing.T) {
	ctx, s := begin(t)
	if _, err := s.Output(ctx, "kubectl", "-n", shop.Namespace, "scale", "deployment/"+shop.Name, "--replicas=5"); err != nil {
		t.Fatal(err)
	}
	a, err := s.Applied(ctx, "set the drift back", func(a shop.Application) bool {
		return len(a.Status.Reverted) > 0 && a.Status.Reverted[0].Live == "5" && a.Status.Sync == "Synced" && len(a.Status.Drift) == 0
	})
	if err != nil {
		t.Fatal(err)
	}
	r := a.Status.Reverted[0]
	if r.User != "gitopsd-admin" || r.Field != "spec.replicas" || r.Want != "3" || r.File != shop.Manifest || r.Line == 0 {
		t.Errorf("reverted %+v, want spec.replicas, set by gitopsd-admin, back to 3 of %s", r, shop.Manifest)
	}
	if err := s.Deployed(ctx, "v1", 3); err != nil {
		t.Error(err)
	}
}

func TestStatusShowsDriftThatIsOnlyReported(t *testing.T) {
	ctx, s := begin(t)
	if err := s.SetDrift(ctx, "report"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.SetDrift(afterwards(t), "revert"); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Output(ctx, "kubectl", "-n", shop.Namespace, "scale", "deployment/"+shop.Name, "--replicas=4"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Applied(ctx, "report the drift", func(a shop.Application) bool { return len(a.Status.Drift) == 1 }); err != nil {
		t.Fatal(err)
	}
	out, err := s.Status(ctx, filepath.Join(bin, "gitopsd"), "--exit-code")
	if err == nil {
		t.Error("gitopsd status --exit-code succeeded, though something differs from Git")
	}
	for _, want := range []string{"spec.replicas", "gitopsd-admin", shop.Manifest + ":8", "OutOfSync"} {
		if !strings.Contains(out, want) {
			t.Errorf("gitopsd status does not say %q:\n%s", want, out)
		}
	}
	if err := s.SetDrift(ctx, "revert"); err != nil {
		t.Fatal(err)
	}
	if err := s.Deployed(ctx, "v1", 3); err != nil {
		t.Error(err)
	}
}

func TestBrokenCommitIsRefusedWithFileAndLineAndNothingChanges(t *testing.T) {
	for name, broken := range map[string]struct {
		edit func(string) string
		says []string
	}{
		"unparsable YAML": {
			func(s string) string { return strings.Replace(s, "  selector:\n", "  selector: {\n", 1) },
			[]string{shop.Manifest + ":"},
		},
		"unknown field": {
			func(s string) string { return strings.Replace(s, "  replicas:", "  replicaz: 3\n  replicas:", 1) },
			[]string{shop.Manifest + ":8", "replicaz"},
		},
		"wrong type": {
			func(s string) string { return strings.Replace(s, "  replicas: 3", "  replicas: three", 1) },
			[]string{shop.Manifest + ":8", "three"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, s := begin(t)
			before, err := s.Application(ctx)
			if err != nil {
				t.Fatal(err)
			}
			pods, err := s.Pods(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Write(shop.Manifest, broken.edit); err != nil {
				t.Fatal(err)
			}
			// A change that is right, in the same commit: it must not be applied either.
			if err := s.Write("deploy/web/configmap.yaml", func(text string) string { return text + "  half: applied\n" }); err != nil {
				t.Fatal(err)
			}
			commit, err := s.Push(ctx, "broken: "+name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { revert(t) })
			a, err := s.Applied(ctx, "refuse the commit", func(a shop.Application) bool {
				return a.Status.WantedRevision == commit && refusal(a) != ""
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range broken.says {
				if !strings.Contains(refusal(a), want) {
					t.Errorf("the refusal does not say %q: %s", want, refusal(a))
				}
			}
			if a.Status.AppliedRevision != before.Status.AppliedRevision {
				t.Errorf("applied is %s, want still %s", a.Status.AppliedRevision, before.Status.AppliedRevision)
			}
			if text, err := s.Output(ctx, "kubectl", "-n", shop.Namespace, "get", "configmap", "web", "-o", "yaml"); err != nil || strings.Contains(text, "half") {
				t.Errorf("half of the commit was applied: %v %s", err, text)
			}
			now, err := s.Pods(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if was, is := strings.Join(names(pods), " "), strings.Join(names(now), " "); was != is {
				t.Errorf("Pods before the push: %s, after: %s", was, is)
			}
		})
	}
}

// refusal is what the Application says of a commit that was not applied.
func refusal(a shop.Application) string {
	for _, c := range a.Status.Conditions {
		if c.Status == "False" && (c.Type == "SourceReady" || c.Type == "Synced") && strings.Contains(c.Message, "deploy/") {
			return c.Message
		}
	}
	return ""
}

func revert(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{{"revert", "--no-edit", "HEAD"}, {"push", "--quiet"}} {
		if _, err := theShop.Git(afterwards(t), args...); err != nil {
			t.Error(err)
		}
	}
}
