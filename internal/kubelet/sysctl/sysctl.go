package sysctl

import (
	"fmt"
	"regexp"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/node/util/sysctl"
)

// safe are those that are the Pod's own and cannot harm others on the node: https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/#safe-and-unsafe-sysctls
var safe = []string{
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range",
	"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_notsent_lowat",
	"net.ipv4.tcp_rmem", "net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
}

// Allowed is what Pods may set.
type Allowed struct {
	names, prefixes []string
}

// pattern is a name or the beginning of one with a star; slashes separate as dots do.
var pattern = regexp.MustCompile(`^([a-z0-9][-_a-z0-9]*[./])*([a-z0-9][-_a-z0-9]*|\*|[a-z0-9][-_a-z0-9]*\*)$`)

// Parse reads what is allowed beyond what is safe: names, and beginnings of names that end with a star.
func Parse(unsafe []string) (Allowed, error) {
	a := Allowed{names: safe}
	for _, s := range unsafe {
		if !pattern.MatchString(s) {
			return a, fmt.Errorf("--allowed-unsafe-sysctls %q: must be the name of a kernel parameter such as kernel.msgmax, or the beginning of one with a star such as net.core.*", s)
		}
		ns, name, prefix := sysctl.GetNamespace(s)
		if ns == sysctl.UnknownNamespace {
			return a, fmt.Errorf("--allowed-unsafe-sysctls %q: would be set for the whole node; only parameters of namespaces can be allowed: kernel.shm*, kernel.msg*, kernel.sem, kernel.domainname, fs.mqueue.*, net.*", s)
		}
		if prefix {
			a.prefixes = append(a.prefixes, name)
		} else {
			a.names = append(a.names[:len(a.names):len(a.names)], name)
		}
	}
	return a, nil
}

// Refuse says why a Pod may not set what it asks for; empty if it may.
func (a Allowed) Refuse(pod *v1.Pod) string {
	sc := pod.Spec.SecurityContext
	if sc == nil {
		return ""
	}
	for _, s := range sc.Sysctls {
		name := sysctl.NormalizeName(s.Name)
		if !a.has(name) {
			return fmt.Sprintf("forbidden sysctl: %q not allowlisted; it is not safe, and this node does not allow it by --allowed-unsafe-sysctls", name)
		}
		if shared := sharedWith(name, &pod.Spec); shared != "" {
			return fmt.Sprintf("forbidden sysctl: %q not allowed with host %s enabled", name, shared)
		}
	}
	return ""
}

func (a Allowed) has(name string) bool {
	for _, n := range a.names {
		if n == name {
			return true
		}
	}
	for _, p := range a.prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// sharedWith names the namespace that the Pod shares with the host, where setting the parameter would set the host's.
func sharedWith(name string, spec *v1.PodSpec) string {
	ns, _, _ := sysctl.GetNamespace(name)
	switch {
	case ns == sysctl.IPCNamespace && spec.HostIPC, ns == sysctl.NetNamespace && spec.HostNetwork, ns == sysctl.UTSNamespace && spec.HostNetwork,
		ns == sysctl.UserNamespace && (spec.HostUsers == nil || *spec.HostUsers):
		return string(ns)
	}
	return ""
}
