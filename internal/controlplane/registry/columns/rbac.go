package columns

import (
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var roleColumns = []metav1.TableColumnDefinition{name(), text("Created At", "When the object was created")}

// Role shows when a Role was made; its rules are for `kubectl describe`.
var Role = Table[*rbacv1.Role]{
	Columns: roleColumns,
	Row:     func(r *rbacv1.Role) []any { return []any{r.Name, createdAt(r.CreationTimestamp)} },
}

// ClusterRole shows when a ClusterRole was made.
var ClusterRole = Table[*rbacv1.ClusterRole]{
	Columns: roleColumns,
	Row:     func(r *rbacv1.ClusterRole) []any { return []any{r.Name, createdAt(r.CreationTimestamp)} },
}

func createdAt(t metav1.Time) string { return t.UTC().Format(time.RFC3339) }

var bindingColumns = []metav1.TableColumnDefinition{
	name(),
	text("Role", "What is granted"),
	age(),
	wideText("Users", "Users to whom it is granted"),
	wideText("Groups", "Groups to whom it is granted"),
	wideText("ServiceAccounts", "ServiceAccounts to whom it is granted, with their namespaces"),
}

// RoleBinding shows what is granted to whom in a namespace.
var RoleBinding = Table[*rbacv1.RoleBinding]{
	Columns: bindingColumns,
	Row: func(b *rbacv1.RoleBinding) []any {
		return bindingRow(&b.ObjectMeta, &b.RoleRef, b.Subjects)
	},
}

// ClusterRoleBinding shows what is granted to whom in the whole cluster.
var ClusterRoleBinding = Table[*rbacv1.ClusterRoleBinding]{
	Columns: bindingColumns,
	Row: func(b *rbacv1.ClusterRoleBinding) []any {
		return bindingRow(&b.ObjectMeta, &b.RoleRef, b.Subjects)
	},
}

func bindingRow(meta *metav1.ObjectMeta, role *rbacv1.RoleRef, subjects []rbacv1.Subject) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		case rbacv1.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		}
	}
	return []any{
		meta.Name, role.Kind + "/" + role.Name, ageOf(meta.CreationTimestamp),
		strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", "),
	}
}
