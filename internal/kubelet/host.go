package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/cgroup"
	"github.com/gitopsd/gitopsd/internal/kubelet/register"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
	"github.com/gitopsd/gitopsd/internal/kubelet/spec"
)

// capabilityNames in the order of their numbers: linux/capability.h.
var capabilityNames = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP
	CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO
	CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD
	CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ
	CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE`)

// capabilities that this process has and so can give.
func capabilities() ([]string, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		hex, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		mask, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		if err != nil {
			return nil, err
		}
		var out []string
		for i, name := range capabilityNames {
			if mask&(1<<i) != 0 {
				out = append(out, name)
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("/proc/self/status names no capabilities")
}

// host finds what this machine can give to containers.
func host(ctx context.Context, tree *cgroup.Tree) (spec.Host, error) {
	caps, err := capabilities()
	if err != nil {
		return spec.Host{}, fmt.Errorf("finding this process's capabilities: %w", err)
	}
	h := spec.Host{Capabilities: caps, Memory: int64(register.Meminfo()["MemTotal"]), Unified: tree.Unified(), Devices: oci.HostDevices}
	h.RecursiveReadOnly = runtime.Features(ctx).RecursiveReadOnly()
	for _, c := range caps {
		if c == "CAP_SYS_RESOURCE" {
			return h, nil
		}
	}
	// Without it a process may not lower its oom_score_adj, and runc fails with a message about a pipe when it is told to.
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return h, fmt.Errorf("reading this process's oom_score_adj: %w", err)
	}
	floor, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return h, fmt.Errorf("reading this process's oom_score_adj: %w", err)
	}
	slog.Info("this process lacks CAP_SYS_RESOURCE: no container gets an oom_score_adj below its own", "oom_score_adj", floor)
	h.OOMFloor = &floor
	return h, nil
}

// seccompProfiles finds system call filters; local ones are files below dir.
func seccompProfiles(dir string) func(context.Context, *v1.SeccompProfile, *specs.Spec) (*specs.LinuxSeccomp, error) {
	return func(_ context.Context, p *v1.SeccompProfile, s *specs.Spec) (*specs.LinuxSeccomp, error) {
		switch p.Type {
		case v1.SeccompProfileTypeRuntimeDefault:
			return seccomp.DefaultProfile(s), nil
		case v1.SeccompProfileTypeLocalhost:
			name := ""
			if p.LocalhostProfile != nil {
				name = *p.LocalhostProfile
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				return nil, fmt.Errorf("seccomp profile %q: %w; put it in that directory of the node", name, err)
			}
			defer root.Close()
			f, err := root.Open(name)
			if err != nil {
				return nil, fmt.Errorf("seccomp profile %q: %w; put it in %s on the node", name, err, dir)
			}
			defer f.Close()
			var out specs.LinuxSeccomp
			if err := json.NewDecoder(f).Decode(&out); err != nil {
				return nil, fmt.Errorf("seccomp profile %s: %w", filepath.Join(dir, name), err)
			}
			return &out, nil
		}
		return nil, nil
	}
}
