package runtime

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// ForHandler gives containerd's name for what a RuntimeClass calls its handler. That is the name of a shim: handler "runsc" is run by containerd-shim-runsc-v1,
// which containerd calls io.containerd.runsc.v1. A handler may also be such a name itself. No configuration says more, so putting a shim on the node is all that a
// handler needs.
func ForHandler(handler string) (string, error) {
	if handler == "" || handler == "runc" {
		return shim, nil
	}
	kind, versions := handler, []string{"v2", "v1"}
	if rest, ok := strings.CutPrefix(handler, "io.containerd."); ok {
		k, version, ok := strings.Cut(rest, ".")
		if !ok {
			return "", fmt.Errorf("no runtime for %q is configured: containerd's names have the form io.containerd.NAME.v2", handler)
		}
		kind, versions = k, []string{version}
	}
	for _, version := range versions {
		if _, err := exec.LookPath("containerd-shim-" + kind + "-" + version); err == nil {
			return "io.containerd." + kind + "." + version, nil
		}
	}
	return "", fmt.Errorf("no runtime for %q is configured: there is no program containerd-shim-%s-%s in PATH (%s); install it on this node, or have the RuntimeClass's scheduling.nodeSelector keep its Pods to nodes that have it",
		handler, kind, strings.Join(versions, " or -"), os.Getenv("PATH"))
}

// IsUsual says whether containers are run by the node's usual runtime, of which it is known what it can do.
func IsUsual(name string) bool { return name == "" || name == shim }

// Handlers are the handlers of which it is known what they can do: the usual one, which also has the empty name.
func Handlers(recursiveReadOnly, userNamespaces bool) []v1.NodeRuntimeHandler {
	can := &v1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: &recursiveReadOnly, UserNamespaces: &userNamespaces}
	return []v1.NodeRuntimeHandler{{Name: "", Features: can}, {Name: "runc", Features: can}}
}
