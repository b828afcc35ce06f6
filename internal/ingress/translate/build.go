package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// Cluster is what there is. Names are "namespace/name".
type Cluster struct {
	Classes   Classes
	Ingresses []*networkingv1.Ingress
	Service   func(name string) *corev1.Service
	Slices    func(service string) []*discoveryv1.EndpointSlice
	Secret    func(name string) Secret
}

// Complaint is something that is wrong with an Ingress.
type Complaint struct {
	Ingress         *networkingv1.Ingress
	Reason, Message string
}

// Reasons of complaints.
const (
	ReasonConflict   = "IngressConflict"
	ReasonAnnotation = "IngressAnnotation"
	ReasonSecret     = "IngressSecret"
	ReasonBackend    = "IngressBackend"
	ReasonPath       = "IngressPath"
)

// builder collects the routes of all Ingresses.
type builder struct {
	Cluster
	routes       []*routes.Route
	certificates []*routes.Certificate
	complaints   []Complaint
	claims       map[claim]*routes.Route
	hosts        map[string]*routes.Certificate
	backends     map[string]*routes.Backend
	parsed       map[string]parsed
	holders      map[string]string // the namespace of each host
	validated    []string          // hosts whose certificates are had by ACME
}

// claim is what two Ingresses cannot both have.
type claim struct {
	host string
	kind routes.PathKind
	path string
}

// Build makes the Table of all Ingresses that are the nodes', and says what is wrong with them. Of two that claim the same, the older has it.
func Build(c Cluster) (*routes.Table, []Complaint) {
	b := &builder{Cluster: c, claims: map[claim]*routes.Route{}, hosts: map[string]*routes.Certificate{}, backends: map[string]*routes.Backend{}, parsed: map[string]parsed{}}
	ours := oldestFirst(c.Classes, c.Ingresses)
	b.holders = holders(ours)
	var canaries []*one
	for _, ing := range ours {
		o := b.open(ing)
		if o.canary != nil {
			canaries = append(canaries, o)
			continue
		}
		o.certify()
		o.each(o.claim)
	}
	for _, o := range canaries {
		o.each(o.join)
	}
	return routes.NewTable(b.routes, b.certificates).Answering(c.Classes.Account(), b.validated), b.complaints
}

func key(ing *networkingv1.Ingress) string { return ing.Namespace + "/" + ing.Name }

// one is an Ingress in work.
type one struct {
	*builder
	*networkingv1.Ingress
	settings
}

func (b *builder) open(ing *networkingv1.Ingress) *one {
	o := &one{builder: b, Ingress: ing}
	o.settings = o.read()
	return o
}

func (o *one) complain(reason, format string, args ...any) {
	o.complaints = append(o.complaints, Complaint{o.Ingress, reason, fmt.Sprintf(format, args...)})
}

// each calls f for every path of the Ingress, and for what it wants to have of the rest.
func (o *one) each(f func(host string, kind routes.PathKind, path string, to *networkingv1.IngressBackend)) {
	rest := o.Spec.DefaultBackend
	if len(o.Spec.Rules) == 0 && rest != nil {
		f("", routes.Default, "", rest)
	}
	given := map[string]bool{}
	for i := range o.Spec.Rules {
		rule := &o.Spec.Rules[i]
		host := strings.ToLower(rule.Host)
		if rule.HTTP != nil {
			// Of /foo and /foo/, which as prefixes are the same, the API prefers the longer.
			paths := slices.Clone(rule.HTTP.Paths)
			slices.SortStableFunc(paths, func(x, y networkingv1.HTTPIngressPath) int { return len(y.Path) - len(x.Path) })
			for j := range paths {
				p := &paths[j]
				f(host, o.kind(p), cmp.Or(p.Path, "/"), &p.Backend)
			}
		}
		// A default backend is for the hosts that the Ingress has rules for: what nobody has a rule for goes to one that has no rules.
		if rest != nil && !given[host] {
			given[host] = true
			f(host, routes.Default, "", rest)
		}
	}
}

// kind is how a path is compared. What is left to implementations is a Prefix, or with ingress-nginx' annotations a regular expression.
func (o *one) kind(p *networkingv1.HTTPIngressPath) routes.PathKind {
	switch {
	case p.PathType != nil && *p.PathType == networkingv1.PathTypeExact:
		return routes.Exact
	case o.regex || o.policy.Rewrite != "":
		return routes.Pattern
	}
	return routes.Prefix
}

func (k claim) normal() claim {
	if k.kind == routes.Prefix {
		k.path = strings.TrimRight(k.path, "/")
	}
	return k
}

func (k claim) String() string {
	host := cmp.Or(k.host, "any host")
	if k.kind == routes.Default {
		return host + ", default backend"
	}
	return fmt.Sprintf("%s, path %s (%s)", host, cmp.Or(k.path, "/"), k.kind)
}

// claim takes a path for the Ingress, unless an older one has it.
func (o *one) claim(host string, kind routes.PathKind, path string, to *networkingv1.IngressBackend) {
	k := claim{host, kind, path}.normal()
	if has := o.claims[k]; has != nil {
		if has.Owner == key(o.Ingress) {
			o.complain(ReasonConflict, "%s: the Ingress has it twice; the first is served", k)
		} else {
			o.complain(ReasonConflict, "%s: Ingress %s is older and has it already; it is served by that one", k, has.Owner)
		}
		return
	}
	r := &routes.Route{Owner: key(o.Ingress), Host: host, Kind: kind, Path: path, Policy: o.hostPolicy(host)}
	if kind == routes.Pattern {
		var err error
		if r.Expr, err = compile("(?i)^" + path); err != nil {
			o.complain(ReasonPath, "%s: not a regular expression that can be used here: %v; the path is not served", k, err)
			return
		}
	}
	r.Backend = o.backend(k, to)
	o.claims[k] = r
	o.routes = append(o.routes, r)
}

// join adds a canary to the route that its path has.
func (o *one) join(host string, kind routes.PathKind, path string, to *networkingv1.IngressBackend) {
	k := claim{host, kind, path}.normal()
	r := o.claims[k]
	if r == nil {
		o.complain(ReasonConflict, "%s: a canary, and no other Ingress has the same host and path: it gets no request", k)
		return
	}
	if ns, _, _ := strings.Cut(r.Owner, "/"); ns != o.Namespace {
		o.complain(ReasonConflict, "%s: a canary, and Ingress %s, which has the same host and path, is of another namespace: the canary gets no request", k, r.Owner)
		return
	}
	if len(r.Canaries) > 0 {
		o.complain(ReasonConflict, "%s: Ingress %s has a canary already, and gets all its requests", k, r.Owner)
		return
	}
	c := *o.canary
	// What protects the route protects its canary too.
	p := *r.Policy
	p.Protocol, p.Host, p.Connect, p.Read, p.Send = o.policy.Protocol, o.policy.Host, o.policy.Connect, o.policy.Read, o.policy.Send
	c.Policy, c.Backend = &p, o.backend(k, to)
	r.Canaries = append(r.Canaries, c)
}

// hostPolicy is the Ingress' policy for one of its hosts: only those with a certificate are sent to HTTPS without being told so.
func (o *one) hostPolicy(host string) *routes.Policy {
	p := o.policy
	p.ToHTTPS = o.forceHTTPS || o.toHTTPS && o.secured(host)
	return &p
}

func (o *one) secured(host string) bool {
	for i := range o.Spec.TLS {
		hosts := o.Spec.TLS[i].Hosts
		if len(hosts) == 0 {
			return true
		}
		for _, h := range hosts {
			h = strings.ToLower(h)
			if h == host || strings.HasPrefix(h, "*.") && strings.HasSuffix(host, h[1:]) && !strings.Contains(strings.TrimSuffix(host, h[1:]), ".") {
				return true
			}
		}
	}
	return false
}
