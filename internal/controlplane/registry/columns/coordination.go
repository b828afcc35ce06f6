package columns

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Lease shows who holds a lease.
var Lease = Table[*coordinationv1.Lease]{
	Columns: []metav1.TableColumnDefinition{name(), text("Holder", "Who holds the lease"), age()},
	Row: func(l *coordinationv1.Lease) []any {
		return []any{l.Name, deref(l.Spec.HolderIdentity), ageOf(l.CreationTimestamp)}
	},
}
