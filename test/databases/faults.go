package databases

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/test/cluster"
)

// faults are in the order in which they strike in each round; the last ones undo what the API was told of the first.
var faults = []struct {
	name   string
	strike func(*run, context.Context) error
}{
	{"processes killed", (*run).killProcesses},
	{"Pods deleted", (*run).deletePods},
	{"node daemons killed", (*run).killDaemons},
	{"containerd killed", (*run).killContainerd},
	{"shims killed", (*run).killShims},
	{"node lost", (*run).loseNode},
	{"power lost", (*run).losePower},
	{"control plane killed", (*run).killControlPlane},
	{"control plane restored", (*run).restore},
	{"etcd lost, rebuilt from Git", (*run).rebuild},
}

func wanted(name string, only []string) bool { return len(only) == 0 || slices.Contains(only, name) }

func median(t []time.Duration) time.Duration {
	t = slices.Sorted(slices.Values(t))
	return t[len(t)/2]
}

func longest(t []time.Duration) time.Duration { return slices.Max(t) }

// killProcesses ends all processes of both databases with SIGKILL.
func (r *run) killProcesses(ctx context.Context) error {
	return r.containers(ctx, r.KillContainer)
}

// deletePods deletes one as users do and the other by force, in turns: the API then knows nothing of it any more while it still runs.
func (r *run) deletePods(ctx context.Context) error {
	for i, name := range names {
		o := metav1.DeleteOptions{}
		if (i+r.round)%2 == 0 {
			o.GracePeriodSeconds = new(int64)
		}
		if err := r.api.CoreV1().Pods(namespace).Delete(ctx, name+"-0", o); err != nil {
			return err
		}
	}
	return r.known(ctx)
}

// nodes are the workers that have a database.
func (r *run) nodes(ctx context.Context) ([]string, error) {
	var out []string
	for _, name := range names {
		p, err := r.pod(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, p.Spec.NodeName)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// each does something to every worker that has a database.
func (r *run) each(ctx context.Context, do func(worker string) error) error {
	workers, err := r.nodes(ctx)
	for _, w := range workers {
		err = errors.Join(err, do(w))
	}
	return err
}

func (r *run) killDaemons(ctx context.Context) error {
	return r.each(ctx, func(w string) error { return r.restart(cluster.Node + "/" + w) })
}

func (r *run) restart(component string) error {
	return errors.Join(r.Kill(component), r.Start(component))
}

// killContainerd kills it; its node starts it again.
func (r *run) killContainerd(ctx context.Context) error {
	return r.each(ctx, func(w string) error {
		if err := r.Kill(cluster.Containerd + "/" + w); err != nil {
			return err
		}
		return r.eventually(ctx, "containerd of "+w+" to run again", func() error { return r.Runs(w, cluster.Containerd) })
	})
}

// killShims kills what stands between containerd and every container of the databases' workers. Nobody can tell what becomes of the containers then, so they are ended and
// started anew, which must have happened before more does.
func (r *run) killShims(ctx context.Context) error {
	ids := map[string]bool{}
	if err := r.containers(ctx, func(id string) error { ids[id] = true; return nil }); err != nil {
		return err
	}
	err := r.each(ctx, func(w string) error {
		return r.KillPrograms(w, func(name string) bool { return name == "containerd-shim" })
	})
	if err != nil {
		return err
	}
	return r.eventually(ctx, "the databases to have new containers", func() error {
		return r.containers(ctx, func(id string) error {
			if ids[id] {
				return fmt.Errorf("container %s is not replaced", id)
			}
			return nil
		})
	})
}

// containers does something with the ID of each database's container.
func (r *run) containers(ctx context.Context, do func(id string) error) error {
	for _, name := range names {
		p, err := r.pod(ctx, name)
		if err != nil {
			return err
		}
		if len(p.Status.ContainerStatuses) == 0 {
			return fmt.Errorf("Pod %s shows no container", p.Name)
		}
		if err := do(p.Status.ContainerStatuses[0].ContainerID); err != nil {
			return err
		}
	}
	return nil
}

// loseNode cuts a worker with a database off until it counts as lost and its Pods as on their way out, and joins it again.
func (r *run) loseNode(ctx context.Context) error {
	workers, err := r.nodes(ctx)
	if err != nil {
		return err
	}
	lost := workers[r.round%len(workers)]
	if err := errors.Join(r.known(ctx), r.ready(ctx, lost)); err != nil { // what the faults before have led to is over
		return err
	}
	if err := r.Unplug(lost); err != nil {
		return err
	}
	err = r.eventually(ctx, "node "+lost+" to be lost, and its Pods to be evicted", func() error {
		n, err := r.api.CoreV1().Nodes().Get(ctx, lost, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if cluster.NodeIsReady(n) {
			return errors.New("it is Ready")
		}
		pods, err := r.api.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + lost})
		if err != nil {
			return err
		}
		if at := slices.IndexFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp == nil }); at >= 0 {
			return fmt.Errorf("Pod %s is not being deleted", pods.Items[at].Name)
		}
		return nil
	})
	return errors.Join(err, r.Plug(lost))
}

func (r *run) ready(ctx context.Context, worker string) error {
	return r.eventually(ctx, "node "+worker+" to be Ready", func() error {
		n, err := r.api.CoreV1().Nodes().Get(ctx, worker, metav1.GetOptions{})
		if err == nil && !cluster.NodeIsReady(n) {
			err = errors.New("it is not")
		}
		return err
	})
}

// losePower ends everything that runs on the databases' workers at once, and starts them again.
func (r *run) losePower(ctx context.Context) error {
	return r.each(ctx, func(w string) error {
		return errors.Join(r.PowerOff(w), r.Start(cluster.Node+"/"+w))
	})
}

func (r *run) killControlPlane(ctx context.Context) error {
	return errors.Join(r.restart(cluster.Gitopsd), r.APIReady(ctx))
}

func (r *run) backup() string { return filepath.Join(r.dir, "backup.tar") }

// data is the control plane's directory.
func (r *run) data() string { return filepath.Join(r.Dir(), "cp") }

// backUp keeps the state that restore goes back to. The control plane runs.
func (r *run) backUp(ctx context.Context) error {
	_, err := r.Output(ctx, filepath.Join(r.bin, "gitopsd"), "backup", "--data-dir", r.data(), r.backup())
	return err
}

// restore has the control plane go on from what was backed up when the round began: the Pods that it knows are others than those that run.
func (r *run) restore(ctx context.Context) error {
	if err := r.Kill(cluster.Gitopsd); err != nil {
		return err
	}
	if _, err := r.Output(ctx, filepath.Join(r.bin, "gitopsd"), "restore", "--data-dir", r.data(), r.backup()); err != nil {
		return err
	}
	before, err := filepath.Glob(filepath.Join(r.data(), "etcd.before-*"))
	for _, b := range before {
		err = errors.Join(err, os.RemoveAll(b))
	}
	return errors.Join(err, r.Start(cluster.Gitopsd), r.APIReady(ctx), r.known(ctx))
}

// rebuild has the control plane begin with nothing but its keys and the Git repository.
func (r *run) rebuild(ctx context.Context) error {
	return errors.Join(r.Kill(cluster.Gitopsd), os.RemoveAll(filepath.Join(r.data(), "etcd")), r.Start(cluster.Gitopsd), r.APIReady(ctx), r.known(ctx))
}

// known waits until the API has both Pods Ready by what their nodes now say. Until then those that run may be ones that it does not know, and are to end.
func (r *run) known(ctx context.Context) error {
	for _, name := range names {
		err := r.eventually(ctx, "Pod "+name+"-0 to be Ready", func() error {
			p, err := r.pod(ctx, name)
			if err != nil {
				return err
			}
			if !r.RunsPod(string(p.UID)) {
				return fmt.Errorf("no process of Pod %s with UID %s runs", p.Name, p.UID)
			}
			if p.DeletionTimestamp != nil {
				return fmt.Errorf("Pod %s is being deleted", p.Name)
			}
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
					return nil
				}
			}
			return fmt.Errorf("Pod %s is not Ready", p.Name)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eventually waits for what nobody announces.
func (r *run) eventually(ctx context.Context, what string, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, comesBack)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting for %s: %w", what, err), r.explain())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
