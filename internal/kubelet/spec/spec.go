package spec

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/env"
	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/userns"
)

// Host is what the node can give.
type Host struct {
	Capabilities []string // that the node daemon itself has, as CAP_…
	// OOMFloor is the lowest oom_score_adj that may be set, where the node daemon lacks CAP_SYS_RESOURCE; nil for any.
	OOMFloor *int
	Memory   int64                               // bytes of the machine, for oom_score_adj
	Devices  func() ([]specs.LinuxDevice, error) // of the machine, for privileged containers
	Unified  bool                                // cgroup v2
	// HugePages are the sizes, in bytes, of which containers are limited; none where the kernel cannot.
	HugePages []int64
	// PodPIDs is how many processes a Pod may have; 0 for any number.
	PodPIDs int64
	// Throttling is from which part of the memory between its request and its limit on a container is slowed down (KEP-2570); 0 never. Without a limit
	// Allocatable counts, what all Pods may have.
	Throttling  float64
	Allocatable int64
	// RecursiveReadOnly says that mounts can be read-only with all that is mounted below them.
	RecursiveReadOnly bool
}

// Namespaces are paths that hold a Pod's namespaces; empty where the container shares the host's, or for PID has its own.
type Namespaces struct{ User, Network, IPC, UTS, PID string }

// Input is a container to be specified.
type Input struct {
	Host      Host
	Pod       *v1.Pod
	Container *v1.Container
	Image     ocispec.ImageConfig
	User      image.User
	Env       []env.Var
	Mounts    []specs.Mount // volumes and files, in the order given
	// BlockDevices are volumes that the container sees as devices.
	BlockDevices []specs.LinuxDevice
	Namespaces   Namespaces
	Users        userns.Range // that the user namespace is for
	Hostname     string
	Cgroup       string
	CPUs         string // that it may run on; empty for any
	Group        string // containers of one group share a shim
	Seccomp      *specs.LinuxSeccomp
	AppArmor     string // profile; empty for none
	// ProcessLabel and FileLabel are SELinux labels; empty where the runtime is not to set any.
	ProcessLabel, FileLabel string
}

// Build makes the specification.
func Build(in Input) (*specs.Spec, error) {
	c, pod := in.Container, in.Pod
	sc := Effective(pod, c)
	args, err := command(c, in.Image, in.Env)
	if err != nil {
		return nil, err
	}
	caps, err := capabilities(in.Host, sc)
	if err != nil {
		return nil, err
	}
	privileged := yes(sc.Privileged)
	s := &specs.Spec{
		// The oldest version that has all that is used here: an older runc need not know a newer one.
		Version:     "1.0.2",
		Hostname:    in.Hostname,
		Root:        &specs.Root{Path: "rootfs", Readonly: yes(sc.ReadOnlyRootFilesystem)},
		Annotations: map[string]string{groupAnnotation: in.Group},
		Process: &specs.Process{
			Terminal: c.TTY,
			User:     specs.User{UID: in.User.UID, GID: in.User.GID, AdditionalGids: groups(pod, in.User)},
			Args:     args,
			Env:      environ(in),
			Cwd:      first(c.WorkingDir, in.Image.WorkingDir, "/"),
			Capabilities: &specs.LinuxCapabilities{
				Bounding: caps, Effective: caps, Permitted: caps,
			},
			NoNewPrivileges: sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation,
			OOMScoreAdj:     oomScoreAdj(in.Host, pod, c),
			ApparmorProfile: in.AppArmor,
			SelinuxLabel:    in.ProcessLabel,
		},
		Mounts: append(defaultMounts(in, privileged), in.Mounts...),
		Linux: &specs.Linux{
			Namespaces:  namespaces(in),
			CgroupsPath: in.Cgroup,
			Resources:   resources(in.Host, c),
			Sysctl:      sysctls(pod),
			Seccomp:     in.Seccomp,
			MountLabel:  in.FileLabel,
		},
	}
	if in.Namespaces.UTS == "" {
		s.Hostname = "" // the host's own; runc refuses to set it
	}
	if privileged {
		if s.Linux.Devices, err = in.Host.Devices(); err != nil {
			return nil, fmt.Errorf("listing the node's devices for a privileged container: %w", err)
		}
		s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		s.Linux.Seccomp = nil
	} else {
		s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
		if sc.ProcMount == nil || *sc.ProcMount != v1.UnmaskedProcMount {
			s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = maskedPaths, readonlyPaths
		}
	}
	if in.Users.Own() {
		ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: in.Users.First, Size: in.Users.Size}}
		s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
	}
	s.Linux.Resources.CPU.Cpus = in.CPUs
	for _, d := range in.BlockDevices {
		s.Linux.Devices = append(s.Linux.Devices, d)
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: "rwm"})
	}
	s.Linux.RootfsPropagation = propagation(in.Mounts)
	return s, nil
}

// groupAnnotation is runtime.GroupAnnotation; it is repeated here so that this package needs no client of containerd.
const groupAnnotation = "io.containerd.runc.v2.group"

// Paths of procfs and sysfs that tell of the host or change it, hidden from or read-only for containers: the API's "Default" ProcMountType, which runtimes fill in.
var (
	maskedPaths = []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// command combines the container's command and args with the image's as `kubectl explain pod.spec.containers.command` says.
func command(c *v1.Container, img ocispec.ImageConfig, vars []env.Var) ([]string, error) {
	entry, args := img.Entrypoint, img.Cmd
	if len(c.Command) > 0 {
		entry, args = env.Command(c.Command, vars), nil
	}
	if len(c.Args) > 0 {
		args = env.Command(c.Args, vars)
	}
	all := slices.Concat(entry, args)
	if len(all) == 0 {
		return nil, errors.New("no command specified: neither the image nor the container names one; set command")
	}
	return all, nil
}

// environ puts the container's variables over the image's.
func environ(in Input) []string {
	var out []string
	at := map[string]int{}
	set := func(name, value string) {
		if i, ok := at[name]; ok {
			out[i] = name + "=" + value
			return
		}
		at[name] = len(out)
		out = append(out, name+"="+value)
	}
	set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	set("HOSTNAME", in.Hostname)
	if in.Container.TTY {
		set("TERM", "xterm")
	}
	for _, e := range in.Image.Env {
		name, value, _ := strings.Cut(e, "=")
		set(name, value)
	}
	for _, v := range in.Env {
		set(v.Name, v.Value)
	}
	return out
}

func namespaces(in Input) []specs.LinuxNamespace {
	out := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	add := func(t specs.LinuxNamespaceType, path string) {
		if path != "" {
			out = append(out, specs.LinuxNamespace{Type: t, Path: path})
		}
	}
	add(specs.UserNamespace, in.Namespaces.User)
	add(specs.NetworkNamespace, in.Namespaces.Network)
	add(specs.IPCNamespace, in.Namespaces.IPC)
	add(specs.UTSNamespace, in.Namespaces.UTS)
	switch {
	case in.Pod.Spec.HostPID:
	case in.Namespaces.PID != "":
		add(specs.PIDNamespace, in.Namespaces.PID)
	default:
		out = append(out, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	return out
}

func defaultMounts(in Input, privileged bool) []specs.Mount {
	sys := "ro"
	if privileged {
		sys = "rw"
	}
	m := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", sys}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", sys}},
	}
	taken := map[string]bool{}
	for _, v := range in.Mounts {
		taken[v.Destination] = true
	}
	return slices.DeleteFunc(m, func(v specs.Mount) bool { return taken[v.Destination] })
}

// propagation of the root must be at least as wide as that of any mount in it, or runc's own remount cuts it off.
func propagation(mounts []specs.Mount) string {
	out := ""
	for _, m := range mounts {
		if slices.Contains(m.Options, "rshared") {
			return "rshared"
		}
		if slices.Contains(m.Options, "rslave") {
			out = "rslave"
		}
	}
	return out
}

func sysctls(pod *v1.Pod) map[string]string {
	sc := pod.Spec.SecurityContext
	if sc == nil || len(sc.Sysctls) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, s := range sc.Sysctls {
		out[strings.ReplaceAll(s.Name, "/", ".")] = s.Value
	}
	return out
}

// groups are the process's supplementary groups: the image's (unless the policy is Strict), the Pod's, and the volumes' own.
func groups(pod *v1.Pod, u image.User) []uint32 {
	set := map[uint32]bool{}
	sc := pod.Spec.SecurityContext
	if sc == nil || sc.SupplementalGroupsPolicy == nil || *sc.SupplementalGroupsPolicy != v1.SupplementalGroupsPolicyStrict {
		for _, g := range u.Groups {
			set[g] = true
		}
	}
	if sc != nil {
		for _, g := range sc.SupplementalGroups {
			set[uint32(g)] = true
		}
		if sc.FSGroup != nil {
			set[uint32(*sc.FSGroup)] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func first(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

func yes(b *bool) bool { return b != nil && *b }

// Errorf-style failures of this package concern the Pod's own specification: trying again cannot help until it or the image changes.
var errNonRoot = errors.New("container has runAsNonRoot and would run as root")

// CheckNonRoot refuses to run as root a container that asked not to.
func CheckNonRoot(sc v1.SecurityContext, u image.User, img ocispec.ImageConfig) error {
	if !yes(sc.RunAsNonRoot) || u.UID != 0 {
		return nil
	}
	if sc.RunAsUser != nil {
		return fmt.Errorf("%w: runAsUser is 0", errNonRoot)
	}
	return fmt.Errorf("%w: the image's user is %q; set runAsUser to a number other than 0", errNonRoot, img.User)
}
