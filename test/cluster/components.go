package cluster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gitopsd/gitopsd/test/netns"
)

// Names of components, for Kill, Start and LogFile. Those of workers have the worker's name behind a slash, such as "node/w1".
const (
	Gitopsd    = "gitopsd"
	Git        = "git"
	Node       = "node"
	Containerd = "containerd" // started by its node, and by nobody else
)

const (
	gitPort = 8080
	apiPort = 6443
	// repoName is the one repository of the Git server.
	repoName = "shop.git"
)

// GitURL is where the repository is cloned from and pushed to, inside the outer namespace.
func (c *Cluster) GitURL() string { return fmt.Sprintf("http://%s:%d/%s", outerIP, gitPort, repoName) }

// Server is the URL of the Kubernetes API.
func (c *Cluster) Server() string { return fmt.Sprintf("https://%s:%d", controlPlaneIP, apiPort) }

// command is how a component is started: in which namespace, and with which arguments.
func (c *Cluster) command(component string) (ns string, args []string, err error) {
	o := c.rec.Options
	bin := func(name string) string { return filepath.Join(o.Bin, name) }
	data := filepath.Join(c.rec.short(), "cp")
	kind, name, _ := strings.Cut(component, "/")
	switch kind {
	case Git:
		return c.rec.outer(), []string{bin("localcluster"), "git-server",
			"--root", filepath.Join(c.rec.Dir, "git"), "--listen", fmt.Sprintf("%s:%d", outerIP, gitPort),
			"--hook", c.Server() + "/webhook/generic", "--hook-ca", filepath.Join(data, "pki", "ca.crt"), "--secret", filepath.Join(data, "webhook-secret"),
		}, nil
	case Gitopsd:
		args := []string{bin("gitopsd"), "serve", "--data-dir", data, "--bind-address", controlPlaneIP, "--https-port", strconv.Itoa(apiPort)}
		if !slices.Contains(o.Serve, "--repo") {
			args = append(args, "--repo", c.GitURL(), "--branch", "main", "--path", "deploy")
		}
		return c.rec.Hosts[0].NetNS, append(args, o.Serve...), nil
	case Node:
		h, err := c.Host(name)
		if err != nil {
			return "", nil, err
		}
		args := []string{bin("node"), "--server", c.Server(), "--token-file", filepath.Join(data, "node-token"), "--name", name, "--node-ip", h.IP,
			"--data-dir", filepath.Join(c.rec.short(), name), "--pod-log-dir", filepath.Join(c.rec.short(), name, "logs"), "--cgroup-root", c.rec.cgroup(name),
			// The disk is that of whoever runs the tests, and as full as they like it.
			"--eviction-hard", "memory.available<50Mi,nodefs.available<500Mi,imagefs.available<500Mi", "--image-gc-high-threshold-percent", "100"}
		if o.MirrorPort != 0 {
			args = append(args, "--mirror", fmt.Sprintf("http://%s:%d", outerIP, o.MirrorPort))
		}
		return h.NetNS, append(args, o.Node...), nil
	}
	return "", nil, fmt.Errorf("no component %q: want %s, %s or %s/<worker>", component, Gitopsd, Git, Node)
}

// Start starts a component, detached: it lives on when this process ends. One that runs is left alone.
func (c *Cluster) Start(component string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rec.Processes[component].Alive() {
		return nil
	}
	ns, args, err := c.command(component)
	if err != nil {
		return fmt.Errorf("start %s: %w", component, err)
	}
	log, err := os.OpenFile(c.LogFile(component), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := netns.Do(netns.Path(ns), cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", component, err)
	}
	p, ok := processOf(cmd.Process.Pid)
	go func() { _ = cmd.Wait() }() // so that no zombie is left while this process lives
	if !ok {
		return fmt.Errorf("start %s: it ended at once: see %s", component, c.LogFile(component))
	}
	c.rec.Processes[component] = p
	return c.rec.save()
}

// environment is this process's, without proxies: nothing in a cluster is reached through one.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return strings.HasSuffix(strings.ToLower(name), "_proxy") || name == "KUBECONFIG"
	})
}

// Kill ends a component with SIGKILL, as a crash does, and waits until it is gone. What it started lives on.
func (c *Cluster) Kill(component string) error {
	if worker, ok := strings.CutPrefix(component, Containerd+"/"); ok {
		return c.killContainerd(worker)
	}
	c.mu.Lock()
	p, ok := c.rec.Processes[component]
	c.mu.Unlock()
	if !ok || !p.Alive() {
		return fmt.Errorf("kill %s: it does not run: see %s", component, c.LogFile(component))
	}
	return p.kill()
}

// killContainerd finds the daemon of a worker: the program of that name inside the worker's network namespace.
func (c *Cluster) killContainerd(worker string) error {
	h, err := c.Host(worker)
	if err != nil {
		return err
	}
	list, err := processesIn(netns.Path(h.NetNS))
	if err != nil {
		return err
	}
	killed := false
	for _, p := range list {
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID)); err == nil && strings.TrimSpace(string(name)) == "containerd" {
			if err := p.kill(); err != nil {
				return err
			}
			killed = true
		}
	}
	if !killed {
		return fmt.Errorf("kill containerd of %s: it does not run", worker)
	}
	return nil
}

// KillContainer ends all processes of one container, given as a Pod's status names it, as a crash of the program does. A container's
// cgroup carries its id.
func (c *Cluster) KillContainer(id string) error {
	_, id, ok := strings.Cut(id, "://")
	if !ok || id == "" {
		return fmt.Errorf("kill a container: %q is no container id", id)
	}
	killed := false
	for _, p := range processesBelow("/" + prefix + c.rec.ID) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.PID))
		if err != nil || !strings.Contains(string(data), id) {
			continue
		}
		if err := p.kill(); err != nil {
			return err
		}
		killed = true
	}
	if !killed {
		return fmt.Errorf("kill container %s: no process is in its cgroup", id)
	}
	return nil
}

// Running says whether a component's process lives.
func (c *Cluster) Running(component string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.Processes[component].Alive()
}

// LogFile is where a component's output goes.
func (c *Cluster) LogFile(component string) string {
	return filepath.Join(c.rec.Dir, "logs", strings.ReplaceAll(component, "/", "-")+".log")
}

// Command is a program that runs in the outer namespace, with KUBECONFIG set, once its Run or Start is called through Do.
func (c *Cluster) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(environment(), "KUBECONFIG="+c.Kubeconfig())
	return cmd
}

// Output runs a program in the outer namespace, with KUBECONFIG set, and returns what it wrote.
func (c *Cluster) Output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := c.Command(ctx, name, args...)
	var out []byte
	err := c.Do(func() (err error) { out, err = cmd.CombinedOutput(); return err })
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// Do calls f inside the outer namespace, from which all hosts are reached.
func (c *Cluster) Do(f func() error) error { return netns.Do(netns.Path(c.rec.outer()), f) }

// until calls check until it returns nil. It is for facts that another process brings about and nobody announces.
func until(ctx context.Context, what string, check func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// APIReady waits until the API server answers /readyz.
func (c *Cluster) APIReady(ctx context.Context) error {
	var client *http.Client
	return until(ctx, "the control plane to be ready (see "+c.LogFile(Gitopsd)+")", func() error {
		if client == nil {
			pem, err := os.ReadFile(filepath.Join(c.rec.Dir, "cp", "pki", "ca.crt"))
			if err != nil {
				return err
			}
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(pem)
			client = c.HTTPClient(pool)
		}
		resp, err := client.Get(c.Server() + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz: %s: %s", resp.Status, body)
		}
		for _, name := range []string{"admin.kubeconfig", "node-token"} {
			if _, err := os.Stat(filepath.Join(c.rec.Dir, "cp", name)); err != nil {
				return err
			}
		}
		return nil
	})
}

var errNotRunning = errors.New("it does not run")
