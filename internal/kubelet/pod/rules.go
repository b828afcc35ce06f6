package pod

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/lsm"
	"github.com/gitopsd/gitopsd/internal/kubelet/sysctl"
)

// Rules are what a Pod must keep to for the node to run it, whatever room there is. The scheduler and the API server see to some of it; a Pod that names its node itself has passed
// by the one, and neither knows what this node's kernel can enforce.
type Rules struct {
	Sysctls sysctl.Allowed
	Modules lsm.Host
	Node    func() *v1.Node // nil while it is not known
}

// Refuse says why a Pod is turned away, or nothing. The reasons are those that kubelets give.
func (r Rules) Refuse(pod *v1.Pod) *lifecycle.Stop {
	no := func(reason, message string) *lifecycle.Stop {
		return &lifecycle.Stop{Reason: reason, Message: "Pod was rejected: " + message}
	}
	if os := pod.Spec.OS; os != nil && os.Name != v1.Linux {
		return no("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS: it is for "+string(os.Name))
	}
	if why := r.Sysctls.Refuse(pod); why != "" {
		return no("SysctlForbidden", why)
	}
	if why := r.Modules.Refuse(pod); why != "" {
		return no("AppArmor", why)
	}
	if node := r.Node(); node != nil {
		if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !ok {
			return no("NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")
		}
	}
	return nil
}
