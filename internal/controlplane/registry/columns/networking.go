package columns

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Ingress shows which hosts are answered, and where.
var Ingress = Table[*networkingv1.Ingress]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Class", "Which ingress controller answers"),
		text("Hosts", "Names that are answered"),
		text("Address", "Where they are answered"),
		text("Ports", "Ports that are answered"),
		age(),
	},
	Row: func(i *networkingv1.Ingress) []any {
		class, ports := none, "80"
		if i.Spec.IngressClassName != nil {
			class = *i.Spec.IngressClassName
		}
		if len(i.Spec.TLS) > 0 {
			ports = "80, 443"
		}
		var addresses []string
		for _, a := range i.Status.LoadBalancer.Ingress {
			switch {
			case a.IP != "":
				addresses = append(addresses, a.IP)
			case a.Hostname != "":
				addresses = append(addresses, a.Hostname)
			}
		}
		return []any{i.Name, class, ingressHosts(i.Spec.Rules), strings.Join(addresses, ","), ports, ageOf(i.CreationTimestamp)}
	},
}

func ingressHosts(rules []networkingv1.IngressRule) string {
	var hosts []string
	for _, r := range rules {
		if r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	if len(hosts) == 0 {
		return "*"
	}
	return firstFew(hosts)
}

// IngressClass shows who answers Ingresses of the class.
var IngressClass = Table[*networkingv1.IngressClass]{
	Columns: []metav1.TableColumnDefinition{name(), text("Controller", "Who answers Ingresses of the class"), text("Parameters", "Where its settings are"), age()},
	Row: func(c *networkingv1.IngressClass) []any {
		parameters := none
		if p := c.Spec.Parameters; p != nil {
			parameters = p.Kind
			if group := deref(p.APIGroup); group != "" {
				parameters += "." + group
			}
			parameters += "/" + p.Name
		}
		return []any{c.Name, c.Spec.Controller, parameters, ageOf(c.CreationTimestamp)}
	},
}

// NetworkPolicy shows which Pods it is about.
var NetworkPolicy = Table[*networkingv1.NetworkPolicy]{
	Columns: []metav1.TableColumnDefinition{name(), text("Pod-Selector", "Labels of the Pods that it is about"), age()},
	Row: func(p *networkingv1.NetworkPolicy) []any {
		return []any{p.Name, metav1.FormatLabelSelector(&p.Spec.PodSelector), ageOf(p.CreationTimestamp)}
	},
}

// IPAddress shows whose an address is.
var IPAddress = Table[*networkingv1.IPAddress]{
	Columns: []metav1.TableColumnDefinition{name(), text("ParentRef", "Whose the address is")},
	Row: func(a *networkingv1.IPAddress) []any {
		owner := none
		if ref := a.Spec.ParentRef; ref != nil {
			parts := []string{ref.Resource}
			if ref.Group != "" {
				parts[0] += "." + ref.Group
			}
			if ref.Namespace != "" {
				parts = append(parts, ref.Namespace)
			}
			owner = strings.Join(append(parts, ref.Name), "/")
		}
		return []any{a.Name, owner}
	},
}

// ServiceCIDR shows where cluster IPs come from.
var ServiceCIDR = Table[*networkingv1.ServiceCIDR]{
	Columns: []metav1.TableColumnDefinition{name(), text("CIDRs", "Ranges of addresses"), age()},
	Row: func(c *networkingv1.ServiceCIDR) []any {
		return []any{c.Name, strings.Join(c.Spec.CIDRs, ","), ageOf(c.CreationTimestamp)}
	},
}
