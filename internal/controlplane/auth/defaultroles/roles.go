package defaultroles

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What the roles are made of. A list is separated by blanks; the core group, which has no name, is written "core".
const (
	read      = "get list watch"
	write     = "create update patch delete deletecollection"
	readWrite = read + " " + write

	toAdmin = "admin"
	toEdit  = "edit"
	toView  = "view"
)

// rule permits verbs on resources of groups, on all or only on those with one of the names.
func rule(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	g := strings.Fields(groups)
	for i := range g {
		if g[i] == "core" {
			g[i] = ""
		}
	}
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), APIGroups: g, Resources: strings.Fields(resources), ResourceNames: names}
}

// urls permits verbs on paths that are no resources.
func urls(verbs, paths string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), NonResourceURLs: strings.Fields(paths)}
}

var (
	reportEvents = rule("create patch update", "core events.k8s.io", "events")
	delegate     = []rbacv1.PolicyRule{
		rule("create", "authentication.k8s.io", "tokenreviews"),
		rule("create", "authorization.k8s.io", "subjectaccessreviews"),
	}
)

// clusterRole is one default; feeds names the aggregated role (admin, edit, view) that takes its rules.
type clusterRole struct {
	name, feeds string
	rules       []rbacv1.PolicyRule
}

// aggregated are the roles for people: whoever adds a kind adds rules to them by labelling a ClusterRole of their own.
var aggregated = []struct{ name, feeds string }{{toAdmin, ""}, {toEdit, toAdmin}, {toView, toEdit}}

// signers whose requests an approver may be trusted with, each by a role of its own.
var signers = []string{"kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown"}

var clusterRoles = append([]clusterRole{
	{name: "cluster-admin", rules: []rbacv1.PolicyRule{rule("*", "*", "*"), urls("*", "*")}},
	{name: "system:aggregate-to-admin", feeds: toAdmin, rules: []rbacv1.PolicyRule{
		rule("create", "authorization.k8s.io", "localsubjectaccessreviews"),
		rule(readWrite, "rbac.authorization.k8s.io", "roles rolebindings"),
	}},
	{name: "system:aggregate-to-edit", feeds: toEdit, rules: []rbacv1.PolicyRule{
		rule(read, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
		rule("impersonate", "core", "serviceaccounts"),
		rule(write, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
		rule("create", "core", "pods/eviction serviceaccounts/token"),
		rule(write, "core", "configmaps persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy"),
		rule(write, "core events.k8s.io", "events"),
		rule(write, "apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"),
		rule(write, "autoscaling", "horizontalpodautoscalers"),
		rule(write, "batch", "cronjobs jobs"),
		rule(write, "policy", "poddisruptionbudgets"),
		rule(write, "networking.k8s.io", "ingresses networkpolicies"),
		rule(readWrite, "coordination.k8s.io", "leases"),
		rule(write, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
		rule(readWrite, "gitopsd.io", "applications"),
	}},
	{name: "system:aggregate-to-view", feeds: toView, rules: []rbacv1.PolicyRule{
		rule(read, "core", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status"),
		rule(read, "core", "bindings limitranges namespaces namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status"),
		rule(read, "core events.k8s.io", "events"),
		rule(read, "discovery.k8s.io", "endpointslices"),
		rule(read, "apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"),
		rule(read, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
		rule(read, "batch", "cronjobs cronjobs/status jobs jobs/status"),
		rule(read, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
		rule(read, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
		rule(read, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
		rule(read, "gitopsd.io", "applications applications/status"),
	}},
	{name: "system:auth-delegator", rules: delegate},
	{name: "system:basic-user", rules: []rbacv1.PolicyRule{
		rule("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
		rule("create", "authentication.k8s.io", "selfsubjectreviews"),
	}},
	{name: "system:discovery", rules: []rbacv1.PolicyRule{urls("get", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/")}},
	{name: "system:public-info-viewer", rules: []rbacv1.PolicyRule{urls("get", "/healthz /livez /readyz /version /version/")}},
	{name: "system:monitoring", rules: []rbacv1.PolicyRule{
		urls("get", "/flagz /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* /statusz"),
		rule("get", "core", "nodes/metrics"),
	}},
	{name: "system:service-account-issuer-discovery", rules: []rbacv1.PolicyRule{
		urls("get", "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/"),
	}},
	{name: "system:cluster-trust-bundle-discovery", rules: []rbacv1.PolicyRule{rule(read, "certificates.k8s.io", "clustertrustbundles")}},
	{name: "system:certificates.k8s.io:certificatesigningrequests:nodeclient", rules: []rbacv1.PolicyRule{
		rule("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient"),
	}},
	{name: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", rules: []rbacv1.PolicyRule{
		rule("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient"),
	}},
	{name: "system:node-bootstrapper", rules: []rbacv1.PolicyRule{rule("create "+read, "certificates.k8s.io", "certificatesigningrequests")}},
	{name: "system:node-problem-detector", rules: []rbacv1.PolicyRule{rule("get", "core", "nodes"), rule("patch", "core", "nodes/status"), reportEvents}},
	{name: "system:node-proxier", rules: []rbacv1.PolicyRule{
		rule("list watch", "core", "services endpoints"), rule(read, "core", "nodes"), rule("list watch", "networking.k8s.io", "servicecidrs"),
		rule("list watch", "discovery.k8s.io", "endpointslices"), reportEvents,
	}},
	{name: "system:kube-dns", rules: []rbacv1.PolicyRule{rule("list watch", "core", "endpoints services")}},
	{name: "system:kube-aggregator", rules: []rbacv1.PolicyRule{rule(read, "core", "endpoints services")}},
	{name: "system:kubelet-api-admin", rules: []rbacv1.PolicyRule{
		rule(read+" proxy", "core", "nodes"),
		rule("*", "core", "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats"),
	}},
	{name: "system:persistent-volume-provisioner", rules: []rbacv1.PolicyRule{
		rule("create delete "+read, "core", "persistentvolumes"), rule("update "+read, "core", "persistentvolumeclaims"),
		rule(read, "storage.k8s.io", "storageclasses"), rule("watch", "core", "events"), reportEvents,
	}},
	{name: "system:volume-scheduler", rules: []rbacv1.PolicyRule{
		rule("patch update "+read, "core", "persistentvolumes persistentvolumeclaims"), rule(read, "storage.k8s.io", "storageclasses"),
	}},
	// Schedulers and controllers that somebody brings along run as the users that these two are bound to.
	{name: "system:kube-scheduler", rules: append([]rbacv1.PolicyRule{
		reportEvents,
		rule("create", "coordination.k8s.io", "leases"), rule("update "+read, "coordination.k8s.io", "leases", "kube-scheduler"),
		rule(read, "core", "nodes namespaces replicationcontrollers services persistentvolumes persistentvolumeclaims"),
		rule("delete "+read, "core", "pods"), rule("create", "core", "bindings pods/binding"), rule("patch update", "core", "pods/status"),
		rule(read, "apps", "replicasets statefulsets"), rule(read, "policy", "poddisruptionbudgets"),
		rule(read, "storage.k8s.io", "csinodes csidrivers csistoragecapacities volumeattachments"),
		rule(read, "resource.k8s.io", "deviceclasses resourceslices devicetaintrules"),
		rule("create delete patch update "+read, "resource.k8s.io", "resourceclaims"), rule("patch update", "resource.k8s.io", "resourceclaims/status resourceclaims/binding"),
		rule("update", "core", "pods/finalizers"),
	}, delegate...)},
	{name: "system:kube-controller-manager", rules: append([]rbacv1.PolicyRule{
		reportEvents,
		rule("create", "coordination.k8s.io", "leases"), rule("get update", "coordination.k8s.io", "leases", "kube-controller-manager"),
		rule("create get update", "core", "secrets serviceaccounts"), rule("delete", "core", "secrets"), rule("get", "core", "configmaps namespaces"),
		rule("list watch", "*", "*"), rule("create", "core", "serviceaccounts/token"),
	}, delegate...)},
	// The node authorizer decides about nodes; the role is for those who bind it to something else that acts as one.
	{name: "system:node", rules: append([]rbacv1.PolicyRule{
		rule("create", "authorization.k8s.io", "localsubjectaccessreviews"), rule(read, "core", "services configmaps secrets"), rule("get", "core", "endpoints serviceaccounts"),
		rule("create patch update "+read, "core", "nodes"), rule("patch update", "core", "nodes/status pods/status"), reportEvents,
		rule("create delete "+read, "core", "pods"), rule("create", "core", "pods/eviction serviceaccounts/token"),
		rule("get", "core", "persistentvolumeclaims persistentvolumes"), rule("get patch update", "core", "persistentvolumeclaims/status"),
		rule("create "+read, "certificates.k8s.io", "certificatesigningrequests podcertificaterequests"), rule(read, "certificates.k8s.io", "clustertrustbundles"),
		rule("create delete get patch update", "coordination.k8s.io", "leases"), rule("get", "storage.k8s.io", "volumeattachments"),
		rule(read, "storage.k8s.io", "csidrivers"), rule("create delete get patch update", "storage.k8s.io", "csinodes"),
		rule(read, "node.k8s.io", "runtimeclasses"), rule("get", "resource.k8s.io", "resourceclaims"), rule("deletecollection", "resource.k8s.io", "resourceslices"),
	}, delegate...)},
}, approvers()...)

func approvers() []clusterRole {
	var roles []clusterRole
	for _, s := range signers {
		roles = append(roles, clusterRole{
			name:  "system:certificates.k8s.io:" + s + "-approver",
			rules: []rbacv1.PolicyRule{rule("approve", "certificates.k8s.io", "signers", "kubernetes.io/"+s)},
		})
	}
	return roles
}

// bindings are of a ClusterRole and have its name. Subjects are written kind/name, a ServiceAccount's as ServiceAccount/namespace/name.
var bindings = []struct{ role, subjects string }{
	{"cluster-admin", "Group/system:masters"},
	{"system:basic-user", "Group/system:authenticated"},
	{"system:discovery", "Group/system:authenticated"},
	{"system:public-info-viewer", "Group/system:authenticated Group/system:unauthenticated"},
	{"system:monitoring", "Group/system:monitoring"},
	{"system:service-account-issuer-discovery", "Group/system:serviceaccounts"},
	{"system:cluster-trust-bundle-discovery", "Group/system:serviceaccounts"},
	{"system:kube-controller-manager", "User/system:kube-controller-manager"},
	{"system:kube-scheduler", "User/system:kube-scheduler"},
	{"system:volume-scheduler", "User/system:kube-scheduler"},
	{"system:node-proxier", "User/system:kube-proxy"},
	{"system:kube-dns", "ServiceAccount/kube-system/kube-dns"},
	// Nobody: nodes have an authorizer of their own.
	{"system:node", ""},
}

const (
	labelDefaults   = "kubernetes.io/bootstrapping"
	labelAggregate  = "rbac.authorization.k8s.io/aggregate-to-"
	readerRole      = "extension-apiserver-authentication-reader"
	readerConfigMap = "extension-apiserver-authentication"
)

func objectMeta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, Labels: map[string]string{labelDefaults: "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
}

// ClusterRoles are the defaults that hold everywhere.
func ClusterRoles() []rbacv1.ClusterRole {
	var out []rbacv1.ClusterRole
	add := func(name, feeds string) *rbacv1.ClusterRole {
		r := rbacv1.ClusterRole{ObjectMeta: objectMeta("", name)}
		if feeds != "" {
			r.Labels[labelAggregate+feeds] = "true"
		}
		out = append(out, r)
		return &out[len(out)-1]
	}
	for _, a := range aggregated {
		add(a.name, a.feeds).AggregationRule = &rbacv1.AggregationRule{
			ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{labelAggregate + a.name: "true"}}},
		}
	}
	for _, c := range clusterRoles {
		add(c.name, c.feeds).Rules = c.rules
	}
	return out
}

// Roles are the defaults of one namespace: API servers that extend this one read there whom to trust.
func Roles() []rbacv1.Role {
	return []rbacv1.Role{{
		ObjectMeta: objectMeta(metav1.NamespaceSystem, readerRole),
		Rules:      []rbacv1.PolicyRule{rule(read, "core", "configmaps", readerConfigMap)},
	}}
}

// ClusterRoleBindings give the defaults to those who have them from the start.
func ClusterRoleBindings() []rbacv1.ClusterRoleBinding {
	var out []rbacv1.ClusterRoleBinding
	for _, b := range bindings {
		binding := rbacv1.ClusterRoleBinding{
			ObjectMeta: objectMeta("", b.role),
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: b.role},
		}
		for s := range strings.FieldsSeq(b.subjects) {
			binding.Subjects = append(binding.Subjects, subject(s))
		}
		out = append(out, binding)
	}
	return out
}

func subject(text string) rbacv1.Subject {
	kind, name, _ := strings.Cut(text, "/")
	if kind == rbacv1.ServiceAccountKind {
		namespace, name, _ := strings.Cut(name, "/")
		return rbacv1.Subject{Kind: kind, Namespace: namespace, Name: name}
	}
	return rbacv1.Subject{Kind: kind, APIGroup: rbacv1.GroupName, Name: name}
}
