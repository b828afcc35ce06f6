package register

import v1 "k8s.io/api/core/v1"

// asStored is what the API holds of the conditions in own, in their order. Others write them too: the control plane sets them to Unknown
// when a node was silent for too long, and a node that speaks again has to say so, as nobody else knows.
func asStored(node *v1.Node, own []v1.NodeCondition) []v1.NodeCondition {
	var out []v1.NodeCondition
	for i := range own {
		for _, c := range node.Status.Conditions {
			if c.Type == own[i].Type {
				out = append(out, c)
			}
		}
	}
	return out
}
