package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/pod"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
	"github.com/gitopsd/gitopsd/internal/kubelet/static"
)

// Status is what runs on a node.
type Status struct {
	DataDir string `json:"dataDir"`
	// Daemon says whether the node daemon runs.
	Daemon bool `json:"daemon"`
	// Containerd is its version; empty when it does not answer, and then what is told of containers is what was known last.
	Containerd string `json:"containerd,omitempty"`
	Pods       []Pod  `json:"pods"`
	// Unknown are containers of Pods that there is no checkpoint of; a daemon that starts removes them.
	Unknown []Container `json:"unknown,omitempty"`
}

// Pod is one that the node has taken up.
type Pod struct {
	Namespace  string      `json:"namespace"`
	Name       string      `json:"name"`
	UID        string      `json:"uid"`
	File       string      `json:"file,omitempty"` // of a static Pod
	Phase      v1.PodPhase `json:"phase"`
	Reason     string      `json:"reason,omitempty"`
	Ending     bool        `json:"ending,omitempty"`
	IPs        []string    `json:"ips,omitempty"`
	Created    time.Time   `json:"created"`
	Containers []Container `json:"containers"`
}

// Container is the newest attempt of one.
type Container struct {
	Name     string    `json:"name"`
	Kind     string    `json:"kind,omitempty"` // init, ephemeral; empty for an app container
	Image    string    `json:"image,omitempty"`
	ID       string    `json:"id,omitempty"`
	PID      uint32    `json:"pid,omitempty"`
	State    string    `json:"state"` // waiting, created, running, exited
	Reason   string    `json:"reason,omitempty"`
	ExitCode *int32    `json:"exitCode,omitempty"`
	Ready    bool      `json:"ready"`
	Restarts int32     `json:"restarts"`
	Since    time.Time `json:"since,omitzero"`
}

// Read finds what runs on the node of a data directory. r is its containerd, which need not answer; it is waited for as long as wait says.
func Read(ctx context.Context, dir string, r *runtime.Runtime, wait time.Duration) (Status, error) {
	if _, err := os.Stat(dir); err != nil {
		return Status{}, fmt.Errorf("--data-dir %s: %w; name the one that the daemon was started with", dir, err)
	}
	pods, err := pod.LoadPods(filepath.Join(dir, "pods"))
	st := Status{DataDir: dir, Daemon: locked(dir)}
	up, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var found []runtime.State
	if r.WaitUp(up) == nil {
		st.Containerd = r.Version()
		var lerr error
		if found, lerr = r.List(ctx); lerr != nil {
			err = errors.Join(err, lerr)
			st.Containerd = ""
		}
	}
	st.Pods, st.Unknown = describe(pods, found, st.Containerd != "")
	return st, err
}

// locked says whether a daemon holds the data directory.
func locked(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
}

// describe puts together what the checkpoints and containerd know. asked says that containerd has answered: what it does not have does not run.
func describe(pods []*v1.Pod, found []runtime.State, asked bool) ([]Pod, []Container) {
	byPod := map[string]map[string]runtime.State{}
	for _, s := range found {
		if byPod[s.PodUID] == nil {
			byPod[s.PodUID] = map[string]runtime.State{}
		}
		if have, ok := byPod[s.PodUID][s.Name]; !ok || have.Attempt < s.Attempt {
			byPod[s.PodUID][s.Name] = s
		}
	}
	out := []Pod{}
	for _, p := range pods {
		d := Pod{
			Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Phase: p.Status.Phase, Reason: p.Status.Reason, Ending: p.DeletionTimestamp != nil, Created: p.CreationTimestamp.Time,
		}
		if static.IsUID(p.UID) {
			d.File = p.Annotations[static.FileAnnotation]
		}
		for _, ip := range p.Status.PodIPs {
			d.IPs = append(d.IPs, ip.IP)
		}
		live := byPod[d.UID]
		delete(byPod, d.UID)
		add := func(name, kind, image string, statuses []v1.ContainerStatus) {
			c := Container{Name: name, Kind: kind, Image: image, State: "waiting"}
			for i := range statuses {
				if statuses[i].Name == name {
					c.known(&statuses[i])
				}
			}
			if s, ok := live[name]; ok {
				c.seen(s)
			} else if asked && c.State == "running" {
				c.State, c.Reason, c.Ready, c.PID = "exited", "Unknown", false, 0
			}
			d.Containers = append(d.Containers, c)
		}
		for i := range p.Spec.InitContainers {
			add(p.Spec.InitContainers[i].Name, "init", p.Spec.InitContainers[i].Image, p.Status.InitContainerStatuses)
		}
		for i := range p.Spec.Containers {
			add(p.Spec.Containers[i].Name, "", p.Spec.Containers[i].Image, p.Status.ContainerStatuses)
		}
		for i := range p.Spec.EphemeralContainers {
			add(p.Spec.EphemeralContainers[i].Name, "ephemeral", p.Spec.EphemeralContainers[i].Image, p.Status.EphemeralContainerStatuses)
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	var unknown []Container
	for _, containers := range byPod {
		for _, s := range containers {
			c := Container{Name: s.Name, State: "waiting"}
			c.seen(s)
			unknown = append(unknown, c)
		}
	}
	slices.SortFunc(unknown, func(a, b Container) int { return cmp.Compare(a.ID, b.ID) })
	return out, unknown
}

// known takes in what was reported last.
func (c *Container) known(s *v1.ContainerStatus) {
	c.Ready, c.Restarts = s.Ready, s.RestartCount
	switch st := s.State; {
	case st.Running != nil:
		c.State, c.Since = "running", st.Running.StartedAt.Time
	case st.Terminated != nil:
		c.State, c.Reason, c.Since, c.ExitCode = "exited", st.Terminated.Reason, st.Terminated.FinishedAt.Time, &st.Terminated.ExitCode
	case st.Waiting != nil:
		c.Reason = st.Waiting.Reason
	}
}

// seen takes in what containerd has, which is newer than anything reported.
func (c *Container) seen(s runtime.State) {
	c.ID, c.PID, c.Restarts = s.ID, s.PID, max(c.Restarts, int32(s.Attempt))
	switch {
	case s.Running:
		if c.State != "running" {
			c.State, c.Reason, c.Since, c.ExitCode = "running", "", s.CreatedAt, nil
		}
	case s.Created:
		c.State, c.Reason, c.Ready, c.ExitCode = "created", "", false, nil
	case !s.ExitedAt.IsZero() && c.State != "exited":
		code := int32(s.ExitStatus)
		c.State, c.Reason, c.Ready, c.Since, c.ExitCode = "exited", "", false, s.ExitedAt, &code
	}
}

// Ready counts the app containers that are ready, of all.
func (p *Pod) Ready() (ready, all int) {
	for _, c := range p.Containers {
		if c.Kind == "" {
			all++
			if c.Ready {
				ready++
			}
		}
	}
	return ready, all
}

// Word sums the Pod up as kubectl does: by why a container waits or ended, else by the phase.
func (p *Pod) Word() string {
	if p.Ending {
		return "Terminating"
	}
	if p.Reason != "" {
		return p.Reason
	}
	for _, c := range p.Containers {
		if c.Kind != "ephemeral" && c.Reason != "" && c.Reason != "Completed" && p.Phase != v1.PodSucceeded {
			return c.Reason
		}
	}
	if p.Phase == v1.PodSucceeded {
		return "Completed"
	}
	return string(p.Phase)
}

// Restarts of all containers together.
func (p *Pod) Restarts() (n int32) {
	for _, c := range p.Containers {
		n += c.Restarts
	}
	return n
}
