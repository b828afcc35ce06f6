package defaults

import rbacv1 "k8s.io/api/rbac/v1"

// SetRoleBinding completes a RoleBinding: a name without a group is one of RBAC's own.
func SetRoleBinding(obj *rbacv1.RoleBinding) {
	setIfZero(&obj.RoleRef.APIGroup, rbacv1.GroupName)
	setSubjects(obj.Subjects)
}

// SetClusterRoleBinding completes a ClusterRoleBinding.
func SetClusterRoleBinding(obj *rbacv1.ClusterRoleBinding) {
	setIfZero(&obj.RoleRef.APIGroup, rbacv1.GroupName)
	setSubjects(obj.Subjects)
}

// setSubjects names the group of users and groups; that of ServiceAccounts is the core group, whose name is empty.
func setSubjects(list []rbacv1.Subject) {
	for i := range list {
		if kind := list[i].Kind; kind == rbacv1.UserKind || kind == rbacv1.GroupKind {
			setIfZero(&list[i].APIGroup, rbacv1.GroupName)
		}
	}
}
