package step

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/cgroup"
	"github.com/gitopsd/gitopsd/internal/kubelet/namespaces"
	"github.com/gitopsd/gitopsd/internal/kubelet/spec"
	"github.com/gitopsd/gitopsd/internal/kubelet/userns"
)

// Namespaces makes the namespaces that the Pod's containers share, and its shared memory.
type Namespaces struct {
	Pool     *namespaces.Pool
	Tree     *cgroup.Tree
	NodeName string
	Domain   string   // of the cluster, for Pods with a subdomain
	Holder   []string // program that holds a shared PID namespace
}

var _ Step = Namespaces{}

// Name is how other steps refer to it.
func (Namespaces) Name() string { return "namespaces" }

// Needs the directory to mount in, the control group to put a holder in, and to know whose the namespaces are.
func (Namespaces) Needs() []string { return []string{"directory", "cgroup", "users"} }

// sandboxFile holds the ID of the namespaces that are mounted.
const sandboxFile = "sandbox"

// Setup keeps the namespaces that are there, or makes new ones with a new ID.
func (n Namespaces) Setup(_ context.Context, s *Sandbox) error {
	spc := &s.Pod.Spec
	s.Hostname, s.FQDN = hostnames(s, n.NodeName, n.Domain)
	dir := filepath.Join(s.Dir, namespacesDir)
	id, err := os.ReadFile(filepath.Join(s.Dir, sandboxFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.ID = string(id)
	if s.ID == "" || !Held(s.Pod, s.Dir) {
		if err := n.hold(s, dir); err != nil {
			return err
		}
		s.ID = rand.Text()
		if err := os.WriteFile(filepath.Join(s.Dir, sandboxFile), []byte(s.ID), 0o600); err != nil {
			return err
		}
	}
	s.Namespaces = spec.Namespaces{}
	if !spc.HostNetwork {
		s.Namespaces.Network = filepath.Join(dir, namespaces.Net)
		s.Namespaces.UTS = filepath.Join(dir, namespaces.UTS)
	}
	if !spc.HostIPC {
		s.Namespaces.IPC = filepath.Join(dir, namespaces.IPC)
		if err := shm(filepath.Join(s.Dir, shmDir), s.Users); err != nil {
			return err
		}
	}
	if s.Users.Own() {
		s.Namespaces.User = filepath.Join(dir, namespaces.User)
	}
	if sharesProcesses(s.Pod) {
		pid, err := namespaces.HoldPID(dir, n.Holder...) // with users of their own, it is there
		if err != nil {
			return err
		}
		if err := n.Tree.Join(string(s.Pod.UID), pid); err != nil {
			return err
		}
		s.Namespaces.PID = filepath.Join(dir, namespaces.PID)
	}
	return nil
}

// hold makes new namespaces. Those of a Pod with a user namespace of its own belong to that.
func (n Namespaces) hold(s *Sandbox, dir string) error {
	if !s.Users.Own() {
		return n.Pool.Hold(dir, s.Hostname)
	}
	var holder []string
	if sharesProcesses(s.Pod) {
		holder = n.Holder
	}
	return namespaces.HoldUsers(dir, s.Hostname, s.Users, holder...)
}

// Held says whether the namespaces of the Pod with a directory are alive.
func Held(pod *v1.Pod, dir string) bool {
	held := filepath.Join(dir, namespacesDir)
	if OwnUsers(pod) {
		return userns.Kept(dir) && namespaces.HeldUsers(held, sharesProcesses(pod))
	}
	return namespaces.Held(held)
}

func sharesProcesses(pod *v1.Pod) bool {
	return pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace && !pod.Spec.HostPID
}

// shm mounts the memory that the Pod's containers share, of the size that runtimes give it by default.
func shm(path string, ids userns.Range) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	var st unix.Statfs_t
	if unix.Statfs(path, &st) == nil && st.Type == unix.TMPFS_MAGIC && deviceDiffers(path) {
		return nil
	}
	if err := unix.Mount("shm", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, fmt.Sprintf("mode=1777,size=65536k,uid=%d,gid=%d", ids.First, ids.First)); err != nil {
		return fmt.Errorf("mounting the Pod's shared memory: %w", err)
	}
	return nil
}

func deviceDiffers(path string) bool {
	var self, parent unix.Stat_t
	return unix.Lstat(path, &self) == nil && unix.Lstat(filepath.Dir(path), &parent) == nil && self.Dev != parent.Dev
}

// Teardown lets go of the namespaces.
func (Namespaces) Teardown(_ context.Context, s *Sandbox) error {
	if err := namespaces.Release(filepath.Join(s.Dir, namespacesDir)); err != nil {
		return err
	}
	path := filepath.Join(s.Dir, shmDir)
	for deviceDiffers(path) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting the Pod's shared memory: %w", err)
		}
	}
	os.Remove(filepath.Join(s.Dir, sandboxFile))
	if err := os.RemoveAll(filepath.Join(s.Dir, namespacesDir)); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// maxHostname is the longest host name the kernel takes: sethostname(2).
const maxHostname = 64

// hostnames gives the Pod's host name and its full name, which is empty for a Pod without a subdomain.
func hostnames(s *Sandbox, node, domain string) (host, fqdn string) {
	spc := &s.Pod.Spec
	if spc.HostNetwork {
		return node, ""
	}
	host = s.Pod.Name
	if spc.Hostname != "" {
		host = spc.Hostname
	}
	if spc.HostnameOverride != nil && *spc.HostnameOverride != "" {
		host = *spc.HostnameOverride
	}
	if len(host) >= maxHostname {
		host = strings.TrimRight(host[:maxHostname-1], "-.")
	}
	if spc.Subdomain != "" {
		fqdn = host + "." + spc.Subdomain + "." + s.Pod.Namespace + ".svc." + domain
		if spc.SetHostnameAsFQDN != nil && *spc.SetHostnameAsFQDN && len(fqdn) <= maxHostname {
			host = fqdn
		}
	}
	return host, fqdn
}
