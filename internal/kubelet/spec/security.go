package spec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Effective combines a container's security context with its Pod's; the container's own settings win.
func Effective(pod *v1.Pod, c *v1.Container) v1.SecurityContext {
	out := v1.SecurityContext{}
	if c.SecurityContext != nil {
		out = *c.SecurityContext
	}
	if p := pod.Spec.SecurityContext; p != nil {
		if out.RunAsUser == nil {
			out.RunAsUser = p.RunAsUser
		}
		if out.RunAsGroup == nil {
			out.RunAsGroup = p.RunAsGroup
		}
		if out.RunAsNonRoot == nil {
			out.RunAsNonRoot = p.RunAsNonRoot
		}
		if out.SeccompProfile == nil {
			out.SeccompProfile = p.SeccompProfile
		}
	}
	return out
}

// UserSpec is who the container is to run as, in the form that image.Users resolves.
func UserSpec(sc v1.SecurityContext, imageUser string) string {
	user := imageUser
	if sc.RunAsUser != nil {
		user = strconv.FormatInt(*sc.RunAsUser, 10)
	}
	if sc.RunAsGroup != nil {
		user, _, _ = strings.Cut(user, ":")
		user += ":" + strconv.FormatInt(*sc.RunAsGroup, 10)
	}
	return user
}

// defaultCapabilities are what a container has unless it asks for more or less: the set that Docker introduced and all runtimes kept.
var defaultCapabilities = []string{"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"}

// capabilities are those the container is to have. A node that lacks one itself (in a sandbox, say) leaves it out of "all" and of
// the default set; one asked for by name is an error.
func capabilities(h Host, sc v1.SecurityContext) ([]string, error) {
	has := func(c string) bool { return slices.Contains(h.Capabilities, c) }
	if yes(sc.Privileged) {
		return h.Capabilities, nil
	}
	set := map[string]bool{}
	for _, c := range defaultCapabilities {
		set[c] = has(c)
	}
	if sc.Capabilities != nil {
		names := func(list []v1.Capability) (out []string, all bool) {
			for _, c := range list {
				n := strings.ToUpper(string(c))
				if n == "ALL" {
					all = true
					continue
				}
				if !strings.HasPrefix(n, "CAP_") {
					n = "CAP_" + n
				}
				out = append(out, n)
			}
			return out, all
		}
		add, addAll := names(sc.Capabilities.Add)
		drop, dropAll := names(sc.Capabilities.Drop)
		if dropAll {
			clear(set)
		}
		if addAll {
			for _, c := range h.Capabilities {
				set[c] = true
			}
		}
		for _, c := range drop {
			set[c] = false
		}
		for _, c := range add {
			if !has(c) {
				return nil, fmt.Errorf("capability %s cannot be added: this node does not have it; check its spelling, or run the node daemon with it", c)
			}
			set[c] = true
		}
	}
	var out []string
	for c, on := range set {
		if on {
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return out, nil
}
