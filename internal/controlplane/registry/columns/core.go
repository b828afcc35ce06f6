package columns

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Namespace shows whether a namespace is being deleted.
var Namespace = Table[*corev1.Namespace]{
	Columns: []metav1.TableColumnDefinition{name(), text("Status", "Active, or Terminating while its content is deleted"), age()},
	Row: func(n *corev1.Namespace) []any {
		return []any{n.Name, string(n.Status.Phase), ageOf(n.CreationTimestamp)}
	},
}

// ConfigMap shows how many entries there are.
var ConfigMap = Table[*corev1.ConfigMap]{
	Columns: []metav1.TableColumnDefinition{name(), integer("Data", "Number of entries"), age()},
	Row: func(c *corev1.ConfigMap) []any {
		return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), ageOf(c.CreationTimestamp)}
	},
}

// Secret shows how many entries there are, and never what.
var Secret = Table[*corev1.Secret]{
	Columns: []metav1.TableColumnDefinition{name(), text("Type", "What the entries are for"), integer("Data", "Number of entries"), age()},
	Row: func(s *corev1.Secret) []any {
		return []any{s.Name, string(s.Type), int64(len(s.Data)), ageOf(s.CreationTimestamp)}
	},
}

// ServiceAccount shows how many Secrets its Pods may use.
var ServiceAccount = Table[*corev1.ServiceAccount]{
	Columns: []metav1.TableColumnDefinition{name(), integer("Secrets", "Number of Secrets that its Pods may use"), age()},
	Row: func(s *corev1.ServiceAccount) []any {
		return []any{s.Name, int64(len(s.Secrets)), ageOf(s.CreationTimestamp)}
	},
}
