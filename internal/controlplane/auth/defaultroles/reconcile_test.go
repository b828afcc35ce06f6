package defaultroles

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestDefaultRolesAreRepairedAndWhatWasAddedToThemStays(t *testing.T) {
	client := fake.NewClientset()
	ensure := func() {
		t.Helper()
		if err := Ensure(client.CoreV1(), client.RbacV1()); err != nil {
			t.Fatal(err)
		}
	}
	roles, bindings := client.RbacV1().ClusterRoles(), client.RbacV1().ClusterRoleBindings()
	role := func(name string) *rbacv1.ClusterRole {
		t.Helper()
		r, err := roles.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	change := func(name string, f func(*rbacv1.ClusterRole)) {
		t.Helper()
		r := role(name)
		f(r)
		if _, err := roles.Update(t.Context(), r, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	ensure()
	first := role("system:discovery")
	mine := rule("get", "core", "pods")
	change("system:discovery", func(r *rbacv1.ClusterRole) { r.Rules = []rbacv1.PolicyRule{mine} })
	change("system:basic-user", func(r *rbacv1.ClusterRole) {
		r.Rules = nil
		r.Annotations = map[string]string{rbacv1.AutoUpdateAnnotationKey: "false"}
	})
	if err := roles.Delete(t.Context(), "cluster-admin", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b, err := bindings.Get(t.Context(), "cluster-admin", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.Subjects = []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "alice"}}
	if _, err := bindings.Update(t.Context(), b, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	ensure()
	// What is put back is put back one by one.
	now := role("system:discovery")
	if diff := cmp.Diff(mine, now.Rules[0]); diff != "" {
		t.Errorf("what was added to a role (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(paths(first), paths(now)); diff != "" {
		t.Errorf("the paths of a role whose rules were replaced (-want +got)\n%s", diff)
	}
	if rules := role("system:basic-user").Rules; len(rules) != 0 {
		t.Errorf("a role that its owner keeps was changed: %v", rules)
	}
	role("cluster-admin")
	if b, err = bindings.Get(t.Context(), "cluster-admin", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range b.Subjects {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"alice", "system:masters"}, names); diff != "" {
		t.Errorf("subjects of cluster-admin (-want +got)\n%s", diff)
	}
}

func paths(r *rbacv1.ClusterRole) []string {
	var out []string
	for _, rule := range r.Rules {
		out = append(out, rule.NonResourceURLs...)
	}
	slices.Sort(out)
	return out
}

func TestEveryDefaultRoleIsMarkedAsOneAndEveryBindingHasItsRole(t *testing.T) {
	known := map[string]bool{}
	for _, r := range ClusterRoles() {
		if known[r.Name] {
			t.Errorf("ClusterRole %s is there twice", r.Name)
		}
		known[r.Name] = true
		if r.Labels["kubernetes.io/bootstrapping"] != "rbac-defaults" || r.Annotations[rbacv1.AutoUpdateAnnotationKey] != "true" {
			t.Errorf("ClusterRole %s: labels %v, annotations %v do not mark it as a default", r.Name, r.Labels, r.Annotations)
		}
		if len(r.Rules) == 0 && r.AggregationRule == nil {
			t.Errorf("ClusterRole %s allows nothing", r.Name)
		}
	}
	for _, name := range []string{"cluster-admin", "admin", "edit", "view", "system:discovery", "system:basic-user", "system:public-info-viewer"} {
		if !known[name] {
			t.Errorf("ClusterRole %s, which clients expect, is missing", name)
		}
	}
	for _, b := range ClusterRoleBindings() {
		// The rights of nodes are not written in roles: that binding is there for clients that look for it.
		if !known[b.RoleRef.Name] || len(b.Subjects) == 0 && b.Name != "system:node" {
			t.Errorf("ClusterRoleBinding %s gives %s to %v", b.Name, b.RoleRef.Name, b.Subjects)
		}
	}
}
