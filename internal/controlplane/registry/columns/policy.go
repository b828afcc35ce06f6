package columns

import (
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// PodDisruptionBudget shows how many Pods may be taken away now.
var PodDisruptionBudget = Table[*policyv1.PodDisruptionBudget]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Min Available", "Pods that must stay"),
		text("Max Unavailable", "Pods that may be missing"),
		integer("Allowed Disruptions", "Pods that may be taken away now"),
		age(),
	},
	Row: func(b *policyv1.PodDisruptionBudget) []any {
		return []any{b.Name, orNotGiven(b.Spec.MinAvailable), orNotGiven(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), ageOf(b.CreationTimestamp)}
	},
}

func orNotGiven(n *intstr.IntOrString) string {
	if n == nil {
		return "N/A"
	}
	return n.String()
}

// PriorityClass shows what its Pods are worth.
var PriorityClass = Table[*schedulingv1.PriorityClass]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		integer("Value", "Priority of its Pods"),
		boolean("Global-Default", "Whether Pods that name no class are of this one"),
		age(),
		text("PreemptionPolicy", "Whether its Pods push out others"),
	},
	Row: func(c *schedulingv1.PriorityClass) []any {
		return []any{c.Name, int64(c.Value), c.GlobalDefault, ageOf(c.CreationTimestamp), string(deref(c.PreemptionPolicy))}
	},
}

// RuntimeClass shows by what its Pods are run.
var RuntimeClass = Table[*nodev1.RuntimeClass]{
	Columns: []metav1.TableColumnDefinition{name(), text("Handler", "By what its Pods are run"), age()},
	Row: func(c *nodev1.RuntimeClass) []any {
		return []any{c.Name, c.Handler, ageOf(c.CreationTimestamp)}
	},
}
