package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/gitopsd/gitopsd/internal/dns/corefile"
	"github.com/gitopsd/gitopsd/internal/pv"
)

// NodeGraph tells what belongs to a node.
type NodeGraph interface {
	// PodOnNode tells whether the Pod is assigned to the node.
	PodOnNode(ctx context.Context, node, namespace, pod string) bool
	// Uses tells whether a Pod that is assigned to the node uses the object: resource is configmaps, secrets, serviceaccounts, persistentvolumeclaims,
	// resourceclaims, or persistentvolumes by way of the claim that they are bound to.
	Uses(ctx context.Context, node, resource, namespace, name string) bool
	// Serves tells whether an Ingress that nodes serve names the Secret.
	Serves(ctx context.Context, namespace, secret string) bool
	// Concerns tells whether the object itself names the node: resource is podcertificaterequests, volumeattachments, resourceslices,
	// persistentvolumes. Of one that does
	// not exist it says yes, so that the node hears that.
	Concerns(ctx context.Context, node, resource, namespace, name string) bool
}

func nodeName(user string) (string, bool) {
	name, ok := strings.CutPrefix(user, UserNode)
	return name, ok && name != ""
}

// judgeNode says why the node may not make the request, or nothing when it may. What it may is what running its own Pods takes.
func judgeNode(ctx context.Context, graph NodeGraph, node string, a authorizer.Attributes) string {
	resource, verb, name, ns, sub := a.GetResource(), a.GetVerb(), a.GetName(), a.GetNamespace(), a.GetSubresource()
	can := func(verbs ...string) bool { return slices.Contains(verbs, verb) }
	refuse := fmt.Sprintf("node %s may not %s %s", node, verb, strings.TrimSuffix(resource+"/"+sub, "/"))
	allow := func(ok bool, detail string) string {
		if ok {
			return ""
		}
		return refuse + ": " + detail
	}
	switch a.GetAPIGroup() + "/" + resource {
	case "/nodes":
		switch {
		case can("get", "list", "watch"):
			return ""
		case can("create") && sub == "":
			// A create names its object in the body only; admission compares it.
			return ""
		case can("update", "patch") && (sub == "" || sub == "status"):
			return allow(name == node, "it can change its own Node only")
		}
	case "coordination.k8s.io/leases":
		switch {
		case ns != "kube-node-lease":
			return refuse + ": its Lease is in the namespace kube-node-lease"
		case can("create") && (name == "" || name == node):
			return ""
		case can("get", "update", "patch", "delete"):
			return allow(name == node, "it can touch its own Lease only")
		}
	case "/pods":
		switch {
		case can("list", "watch") && sub == "" && selectsNoField(a):
			return "" // policies name others' Pods as peers; the API server shows of them what those ask, see registry's podsREST
		case can("list", "watch"):
			return allow(selectsNode(a, node), "it can see its own Pods whole, by the field selector spec.nodeName="+node+", and of others what NetworkPolicies ask of them, without any field selector")
		case can("get"), can("update", "patch") && sub == "status", can("delete") && sub == "":
			return allow(graph.PodOnNode(ctx, node, ns, name), fmt.Sprintf("Pod %s/%s is not on it", ns, name))
		case can("create") && sub == "eviction":
			return allow(graph.PodOnNode(ctx, node, ns, name), fmt.Sprintf("Pod %s/%s is not on it", ns, name))
		case can("create") && sub == "":
			// Mirror Pods of static Pods; admission checks that they are bound to the node.
			return ""
		}
	case "/configmaps", "/secrets":
		if resource == "configmaps" && ns == corefile.ConfigMapNamespace && name == corefile.ConfigMapName && can("get", "list", "watch") && sub == "" {
			return "" // every node answers DNS questions
		}
		if sub == "" && (can("get") || can("list", "watch") && name != "") {
			if resource == "secrets" && graph.Serves(ctx, ns, name) {
				return "" // every node serves Ingresses
			}
			return allow(graph.Uses(ctx, node, resource, ns, name), fmt.Sprintf("no Pod on it uses %s/%s", ns, name))
		}
	case "/persistentvolumeclaims":
		if can("get") && sub == "" || can("update", "patch") && sub == "status" {
			return allow(graph.Uses(ctx, node, resource, ns, name), fmt.Sprintf("no Pod on it uses %s/%s", ns, name))
		}
	case "/persistentvolumes":
		switch {
		case can("list", "watch") && sub == "":
			return allow(selectsDisk(a, node), "it can see those on its own disk only; the label selector "+pv.NodeLabel+"="+node+" is required")
		case can("create") && sub == "":
			return "" // of its own disk: admission compares it
		case can("patch") && sub == "status":
			return allow(graph.Concerns(ctx, node, resource, "", name), fmt.Sprintf("%s is not on its disk", name))
		case can("get") && sub == "":
			return allow(graph.Uses(ctx, node, resource, "", name), fmt.Sprintf("no Pod on it uses a claim that %s is bound to", name))
		}
	case "snapshot.storage.k8s.io/volumesnapshotcontents":
		switch {
		case can("list", "watch") && sub == "":
			return allow(selectsDisk(a, node), "it can see those on its own disk only; the label selector "+pv.NodeLabel+"="+node+" is required")
		case can("create") && sub == "", can("patch") && (sub == "" || sub == "status"):
			return "" // of its own disk: admission compares it
		}
	case "resource.k8s.io/resourceclaims":
		if can("get") && sub == "" {
			return allow(graph.Uses(ctx, node, resource, ns, name), fmt.Sprintf("no Pod on it uses %s/%s", ns, name))
		}
	case "/serviceaccounts":
		if can("get") && sub == "" || can("create") && sub == "token" {
			return allow(graph.Uses(ctx, node, resource, ns, name), fmt.Sprintf("no Pod on it runs as %s/%s", ns, name))
		}
	case "certificates.k8s.io/podcertificaterequests":
		switch {
		case sub != "":
			return refuse + ": only signers answer requests"
		case can("create"):
			// A create names its Pod in the body only; admission compares it.
			return ""
		case can("get"):
			return allow(graph.Concerns(ctx, node, resource, ns, name), fmt.Sprintf("%s/%s is for a Pod of another node", ns, name))
		case can("list", "watch"):
			return allow(selectsNode(a, node), "it can see those of its own Pods only; the field selector spec.nodeName="+node+" is required")
		}
	case "storage.k8s.io/csinodes":
		switch {
		case sub != "":
		case can("create"):
			return "" // of its own name: admission compares it
		case can("get", "update", "patch", "delete"):
			return allow(name == node, "it can touch its own CSINode only")
		}
	case "storage.k8s.io/volumeattachments":
		if can("get") && sub == "" {
			return allow(graph.Concerns(ctx, node, resource, "", name), fmt.Sprintf("%s attaches a volume to another node", name))
		}
	case "resource.k8s.io/resourceslices":
		switch {
		case sub != "":
		case can("create"):
			return "" // of its own devices: admission compares it
		case can("get", "update", "patch", "delete"):
			return allow(graph.Concerns(ctx, node, resource, "", name), fmt.Sprintf("%s is of another node", name))
		case can("list", "watch", "deletecollection"):
			return allow(selectsNode(a, node), "it can see its own only; the field selector spec.nodeName="+node+" is required")
		}
	case "/endpoints":
		return allow(can("get") && sub == "", "it can only get them one by one")
	case "/services", "discovery.k8s.io/endpointslices", "/namespaces", "certificates.k8s.io/clustertrustbundles", "storage.k8s.io/csidrivers", "node.k8s.io/runtimeclasses",
		"networking.k8s.io/ingresses", "networking.k8s.io/ingressclasses", "networking.k8s.io/networkpolicies":
		return allow(can("get", "list", "watch") && sub == "", "it can only read them")
	case "/events", "events.k8s.io/events":
		return allow(can("create", "update", "patch") && sub == "", "it can only report")
	case "certificates.k8s.io/certificatesigningrequests":
		return allow(can("create", "get", "list", "watch") && sub == "", "it can only ask for certificates")
	case "authentication.k8s.io/tokenreviews", "authorization.k8s.io/subjectaccessreviews", "authorization.k8s.io/localsubjectaccessreviews":
		return allow(can("create"), "it can only ask")
	}
	return refuse
}

// selectsDisk tells whether a list or watch is limited to volumes on the node's own disk.
func selectsDisk(a authorizer.Attributes, node string) bool {
	requirements, err := a.GetLabelSelector()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(requirements, func(r labels.Requirement) bool {
		values := r.ValuesUnsorted()
		return r.Key() == pv.NodeLabel && (r.Operator() == selection.Equals || r.Operator() == selection.DoubleEquals || r.Operator() == selection.In) && len(values) == 1 && values[0] == node
	})
}

// selectsNoField tells whether a list or watch is limited by no field.
func selectsNoField(a authorizer.Attributes) bool {
	requirements, err := a.GetFieldSelector()
	return err == nil && len(requirements) == 0
}

// selectsNode tells whether a list or watch is limited to what belongs to the node.
func selectsNode(a authorizer.Attributes, node string) bool {
	requirements, err := a.GetFieldSelector()
	if err != nil {
		return false
	}
	for _, r := range requirements {
		if r.Field == "spec.nodeName" && r.Value == node && (r.Operator == "=" || r.Operator == "==") {
			return true
		}
	}
	return false
}
