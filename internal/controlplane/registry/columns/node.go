package columns

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Node shows whether a node can take work.
var Node = Table[*corev1.Node]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Status", "Whether Pods can run on the node, and whether new ones may"),
		text("Roles", "What the node is for, from its labels node-role.kubernetes.io/<role>"),
		age(),
		text("Version", "Version of the node daemon"),
		wideText("Internal-IP", "Address that other nodes reach the node at"),
		wideText("External-IP", "Address that the world reaches the node at"),
		wideText("OS-Image", "Operating system"),
		wideText("Kernel-Version", "Kernel"),
		wideText("Container-Runtime", "Container runtime and its version"),
	},
	Row: func(n *corev1.Node) []any {
		info := &n.Status.NodeInfo
		return []any{
			n.Name, nodeStatus(n), nodeRoles(n.Labels), ageOf(n.CreationTimestamp), info.KubeletVersion,
			nodeAddress(n, corev1.NodeInternalIP), nodeAddress(n, corev1.NodeExternalIP),
			orUnknown(info.OSImage), orUnknown(info.KernelVersion), orUnknown(info.ContainerRuntimeVersion),
		}
	},
}

func nodeStatus(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			status = "NotReady"
			if c.Status == corev1.ConditionTrue {
				status = "Ready"
			}
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

// nodeRoles reads the two forms of label in which people write what a node is for.
func nodeRoles(labels map[string]string) string {
	var roles []string
	for key, value := range labels {
		if role, ok := strings.CutPrefix(key, "node-role.kubernetes.io/"); ok && role != "" {
			roles = append(roles, role)
		} else if key == "kubernetes.io/role" && value != "" {
			roles = append(roles, value)
		}
	}
	slices.Sort(roles)
	return joinOrNone(slices.Compact(roles))
}

func nodeAddress(n *corev1.Node, wanted corev1.NodeAddressType) string {
	for _, address := range n.Status.Addresses {
		if address.Type == wanted {
			return orNone(address.Address)
		}
	}
	return none
}

func orUnknown(value string) string {
	if value == "" {
		return unknown
	}
	return value
}
