package lsm

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Host is what the kernel enforces.
type Host struct {
	// AppArmor is the directory of its file system; empty where it is not enabled.
	AppArmor string
	SELinux  bool
}

// Detect looks below root, which is / but for tests.
func Detect(root string) Host {
	var h Host
	if b, err := os.ReadFile(filepath.Join(root, "sys/module/apparmor/parameters/enabled")); err == nil && strings.HasPrefix(string(b), "Y") {
		h.AppArmor = filepath.Join(root, "sys/kernel/security/apparmor")
	}
	if _, err := os.Stat(filepath.Join(root, "sys/fs/selinux/enforce")); err == nil {
		h.SELinux = true
	}
	return h
}

// DefaultProfile confines containers that ask for no other AppArmor profile.
const DefaultProfile = "gitopsd-default"

// defaultProfile lets a container do what its capabilities and system calls allow, but for changing the kernel by way of files, and for tracing what is not its own.
const defaultProfile = `profile ` + DefaultProfile + ` flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,
  signal (receive) peer=unconfined,
  signal (send,receive) peer=` + DefaultProfile + `,
  ptrace (trace,read,tracedby,readby) peer=` + DefaultProfile + `,
  deny mount,
  deny /proc/sys/[^kn]** w,
  deny /proc/sys/kernel/[^s][^h][^m]** w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
`

// Load loads the default profile, unless it is or the host has no AppArmor.
func (h Host) Load() error {
	if h.AppArmor == "" || h.loaded(DefaultProfile) {
		return nil
	}
	cmd := exec.Command("apparmor_parser", "-Kr")
	cmd.Stdin = strings.NewReader(defaultProfile)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("loading the AppArmor profile %s: %w: %s; install apparmor_parser, without it containers are unconfined unless they name a profile", DefaultProfile, err, out)
	}
	return nil
}

// loaded says whether the kernel has a profile.
func (h Host) loaded(name string) bool {
	f, err := os.Open(filepath.Join(h.AppArmor, "profiles"))
	if err != nil {
		return false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if have, _, ok := strings.Cut(s.Text(), " ("); ok && have == name {
			return true
		}
	}
	return false
}

// Refuse says why a Pod cannot be run here; empty if it can.
func (h Host) Refuse(pod *v1.Pod) string {
	if h.AppArmor != "" {
		return ""
	}
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if p := profile(pod, list[i].SecurityContext); p != nil && p.Type != v1.AppArmorProfileTypeUnconfined {
				return "Cannot enforce AppArmor: AppArmor is not enabled on the host"
			}
		}
	}
	return ""
}

// profile is the container's own, or the Pod's.
func profile(pod *v1.Pod, sc *v1.SecurityContext) *v1.AppArmorProfile {
	if sc != nil && sc.AppArmorProfile != nil {
		return sc.AppArmorProfile
	}
	if pod.Spec.SecurityContext != nil {
		return pod.Spec.SecurityContext.AppArmorProfile
	}
	return nil
}

// AppArmorProfile is the name of that which a container is to have; empty for none.
func (h Host) AppArmorProfile(pod *v1.Pod, sc *v1.SecurityContext) (string, error) {
	p := profile(pod, sc)
	privileged := sc != nil && sc.Privileged != nil && *sc.Privileged
	switch {
	case h.AppArmor == "", p == nil && privileged, p != nil && p.Type == v1.AppArmorProfileTypeUnconfined:
		return "", nil
	case p != nil && p.Type == v1.AppArmorProfileTypeLocalhost:
		if p.LocalhostProfile == nil {
			return "", errors.New("appArmorProfile: localhostProfile: names none")
		}
		if !h.loaded(*p.LocalhostProfile) {
			return "", fmt.Errorf("AppArmor profile %q is not loaded on this node; load it with apparmor_parser", *p.LocalhostProfile)
		}
		return *p.LocalhostProfile, nil
	case h.loaded(DefaultProfile):
		return DefaultProfile, nil
	case p == nil:
		return "", nil // nobody asked for it, and the node has said in its log why there is none
	}
	return "", fmt.Errorf("AppArmor profile %s is not loaded on this node; install apparmor_parser there and start the node daemon anew", DefaultProfile)
}

// Labels are the SELinux labels of a container's processes and of the files in its root; empty where SELinux is not enabled or the Pod leaves it to the runtime.
func (h Host) Labels(pod *v1.Pod, sc *v1.SecurityContext) (process, files string) {
	var o *v1.SELinuxOptions
	if pod.Spec.SecurityContext != nil {
		o = pod.Spec.SecurityContext.SELinuxOptions
	}
	if sc != nil && sc.SELinuxOptions != nil {
		o = sc.SELinuxOptions
	}
	if !h.SELinux || o == nil {
		return "", ""
	}
	// What is left open is as the policy for containers (container-selinux) has it.
	user, role, level := cmp.Or(o.User, "system_u"), cmp.Or(o.Role, "system_r"), cmp.Or(o.Level, "s0")
	return strings.Join([]string{user, role, cmp.Or(o.Type, "container_t"), level}, ":"), strings.Join([]string{user, "object_r", "container_file_t", level}, ":")
}
