package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/test/shop"
)

// gracePeriod is how long a worker may be silent before it counts as lost: as short as workers that speak every 10 seconds allow, so that
// nobody has to watch a demo wait.
const gracePeriod = "15s"

type demo struct {
	*shop.Shop
	bin   string
	out   io.Writer
	begin time.Time
	// lost is the worker that was cut off.
	lost string
}

// step is one promise: do returns what was seen, or why the promise does not hold.
type step struct {
	name string
	do   func(context.Context) (string, error)
}

func (d *demo) steps() []step {
	return []step{
		{"push example-repo: everything Ready", d.firstRelease},
		{"every replica answers through the NodePort", d.everyReplica},
		{"push v2, 4 replicas: rolled out under load", d.secondRelease},
		{"kubectl scale by hand: status shows who", d.drift},
		{"drift set to revert: as in Git again", d.revertDrift},
		{"a container killed: restarted in its place", d.killContainer},
		{"a worker cut off: its Pods run elsewhere", d.cutOff},
		{"the worker back: Ready, all replicas answer", d.rejoin},
		{"broken YAML pushed: refused, nothing changed", d.brokenYAML},
		{"git revert: clean", d.revertCommit},
	}
}

func (d *demo) firstRelease(ctx context.Context) (string, error) {
	if err := os.CopyFS(filepath.Join(d.Worktree(), "example"), os.DirFS(d.exampleRepo())); err != nil {
		return "", err
	}
	// The worktree begins with an empty folder "deploy"; the example's takes its place.
	for _, do := range []func() error{
		func() error { return os.RemoveAll(filepath.Join(d.Worktree(), "deploy")) },
		func() error {
			return os.Rename(filepath.Join(d.Worktree(), "example", "deploy"), filepath.Join(d.Worktree(), "deploy"))
		},
		func() error { return os.RemoveAll(filepath.Join(d.Worktree(), "example")) },
	} {
		if err := do(); err != nil {
			return "", err
		}
	}
	commit, err := d.Push(ctx, "the shop opens")
	if err != nil {
		return "", err
	}
	pushed := time.Now()
	if err := d.Deployed(ctx, "v1", 3); err != nil {
		return "", err
	}
	ready := time.Since(pushed)
	if err := d.Open(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("commit %.8s, 3 of 3 replicas %s after the push, reached through every worker after %s", commit,
		ready.Round(time.Millisecond), time.Since(pushed).Round(time.Millisecond)), nil
}

// exampleRepo lies beside the folder of programs.
func (d *demo) exampleRepo() string { return filepath.Join(filepath.Dir(d.bin), "example-repo") }

func (d *demo) everyReplica(ctx context.Context) (string, error) {
	total := 0
	for worker := range d.Workers() {
		seen, err := d.EveryReplica(ctx, worker, 3)
		if err != nil {
			return "", err
		}
		for _, n := range seen {
			total += n
		}
	}
	return fmt.Sprintf("3 replicas on both workers' addresses, %d requests", total), nil
}

func (d *demo) secondRelease(ctx context.Context) (string, error) {
	users := d.Load(4)
	_, err := d.Release(ctx, "v2", 4)
	if err == nil {
		err = d.Deployed(ctx, "v2", 4)
	}
	if err == nil {
		// The last old Pod has gone from the API; users go on until the new version has answered them, too.
		_, err = d.EveryReplica(ctx, 0, 4)
	}
	report := users.Stop()
	if err != nil {
		return "", err
	}
	if report.Failed > 0 {
		return "", fmt.Errorf("%d of %d requests failed: %w", report.Failed, report.Requests, errors.Join(report.Errors...))
	}
	return fmt.Sprintf("%d requests, 0 errors (v1 %d, v2 %d), slowest %s", report.Requests, report.Versions["v1"], report.Versions["v2"],
		report.Slowest.Round(time.Millisecond)), nil
}

func (d *demo) drift(ctx context.Context) (string, error) {
	if err := d.SetDrift(ctx, "report"); err != nil {
		return "", err
	}
	if _, err := d.Applied(ctx, "report drift", func(a shop.Application) bool { return a.Spec.Drift == "report" }); err != nil {
		return "", err
	}
	if _, err := d.Output(ctx, "kubectl", "-n", shop.Namespace, "scale", "deployment/"+shop.Name, "--replicas=6"); err != nil {
		return "", err
	}
	if _, err := d.Applied(ctx, "show the drift", func(a shop.Application) bool { return len(a.Status.Drift) == 1 }); err != nil {
		return "", err
	}
	text, err := d.Status(ctx, filepath.Join(d.bin, "gitopsd"))
	if err != nil {
		return "", err
	}
	for _, want := range []string{"spec.replicas", "gitopsd-admin", shop.Manifest, "OutOfSync"} {
		if !strings.Contains(text, want) {
			return "", fmt.Errorf("gitopsd status does not say %q:\n%s", want, text)
		}
	}
	return "\n" + indent(text), nil
}

func indent(text string) string {
	return "             | " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n             | ")
}

func (d *demo) revertDrift(ctx context.Context) (string, error) {
	if err := d.SetDrift(ctx, "revert"); err != nil {
		return "", err
	}
	if err := d.Deployed(ctx, "v2", 4); err != nil {
		return "", err
	}
	a, err := d.Applied(ctx, "be synced", func(a shop.Application) bool {
		return a.Status.Sync == "Synced" && len(a.Status.Drift) == 0 && len(a.Status.Reverted) > 0
	})
	if err != nil {
		return "", err
	}
	r := a.Status.Reverted[0]
	return fmt.Sprintf("%s %s set by %s went from %s back to %s", r.Name, r.Field, r.User, r.Live, r.Want), nil
}

func (d *demo) killContainer(ctx context.Context) (string, error) {
	pods, err := d.Pods(ctx)
	if err != nil {
		return "", err
	}
	victim := pods[0]
	before := victim.Status.ContainerStatuses[0]
	if err := d.KillContainer(before.ContainerID); err != nil {
		return "", err
	}
	var after corev1.Pod
	err = d.Pod(ctx, victim.Name, "its container restarted", func(p *corev1.Pod) bool {
		after = *p
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount == before.RestartCount+1 && shop.Ready(p)
	})
	if err != nil {
		return "", err
	}
	if after.UID != victim.UID || after.Status.PodIP != victim.Status.PodIP {
		return "", fmt.Errorf("the Pod was replaced: address %s before, %s after", victim.Status.PodIP, after.Status.PodIP)
	}
	return fmt.Sprintf("%s: same Pod, same address %s, 1 restart", victim.Name, after.Status.PodIP), nil
}

func (d *demo) cutOff(ctx context.Context) (string, error) {
	pods, err := d.Pods(ctx)
	if err != nil {
		return "", err
	}
	d.lost = pods[0].Spec.NodeName
	moved := 0
	for _, p := range pods {
		if p.Spec.NodeName == d.lost {
			moved++
		}
	}
	if err := d.Unplug(d.lost); err != nil {
		return "", err
	}
	if err := d.Node(ctx, d.lost, false); err != nil {
		return "", err
	}
	if err := d.RunsOutside(ctx, d.lost, 4); err != nil {
		return "", err
	}
	for worker, h := range d.Workers() {
		if h.Name == d.lost {
			continue
		}
		if _, err := d.EveryReplica(ctx, worker, 4); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s silent for more than %s, %d of its Pods run on the other worker", d.lost, gracePeriod, moved), nil
}

func (d *demo) rejoin(ctx context.Context) (string, error) {
	if err := d.Plug(d.lost); err != nil {
		return "", err
	}
	if err := d.Node(ctx, d.lost, true); err != nil {
		return "", err
	}
	if err := d.Deployed(ctx, "v2", 4); err != nil {
		return "", err
	}
	for worker := range d.Workers() {
		if _, err := d.EveryReplica(ctx, worker, 4); err != nil {
			return "", err
		}
	}
	return d.lost + " answers for all 4 replicas", nil
}

func (d *demo) brokenYAML(ctx context.Context) (string, error) {
	before, err := d.Application(ctx)
	if err != nil {
		return "", err
	}
	pods, err := d.Pods(ctx)
	if err != nil {
		return "", err
	}
	err = d.Write(shop.Manifest, func(text string) string {
		return strings.Replace(strings.Replace(text, "replicas: 4", "replicas: 9", 1), "  selector:\n", "  selector: {\n", 1)
	})
	if err != nil {
		return "", err
	}
	commit, err := d.Push(ctx, "broken")
	if err != nil {
		return "", err
	}
	var said string
	a, err := d.Applied(ctx, "refuse the commit", func(a shop.Application) bool {
		for _, c := range a.Status.Conditions {
			if a.Status.WantedRevision == commit && c.Status == "False" && strings.Contains(c.Message, shop.Manifest+":") {
				said = c.Message
				return true
			}
		}
		return false
	})
	if err != nil {
		return "", err
	}
	if a.Status.AppliedRevision != before.Status.AppliedRevision {
		return "", fmt.Errorf("commit %.8s is applied, want still %.8s", a.Status.AppliedRevision, before.Status.AppliedRevision)
	}
	now, err := d.Pods(ctx)
	if err != nil {
		return "", err
	}
	if len(now) != len(pods) {
		return "", fmt.Errorf("%d Pods, before the push %d", len(now), len(pods))
	}
	for i := range now {
		if now[i].UID != pods[i].UID {
			return "", fmt.Errorf("the push replaced Pod %s", pods[i].Name)
		}
	}
	for line := range strings.Lines(said) {
		if strings.Contains(line, shop.Manifest+":") {
			said = line
		}
	}
	return strings.TrimSpace(said), nil
}

func (d *demo) revertCommit(ctx context.Context) (string, error) {
	if _, err := d.Git(ctx, "revert", "--no-edit", "HEAD"); err != nil {
		return "", err
	}
	if _, err := d.Git(ctx, "push", "--quiet"); err != nil {
		return "", err
	}
	commit, err := d.Git(ctx, "rev-parse", "HEAD")
	if err != nil {
		return "", err
	}
	_, err = d.Applied(ctx, "be synced and healthy", func(a shop.Application) bool {
		return a.Status.AppliedRevision == commit && a.Status.Sync == "Synced" && a.Status.Health == "Healthy"
	})
	if err != nil {
		return "", err
	}
	if out, err := d.Status(ctx, filepath.Join(d.bin, "gitopsd"), "--exit-code"); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return fmt.Sprintf("commit %.8s, Synced and Healthy", commit), nil
}
