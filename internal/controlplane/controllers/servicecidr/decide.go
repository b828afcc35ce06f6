package servicecidr

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
)

// grace is how long an IPAddress may be there without its Service: it is made before the Service is stored.
const grace = time.Minute

// Actions is what is to be written to a ServiceCIDR.
type Actions struct {
	Keep, LetGo bool // put the finalizer on, take it off
	Condition   *metav1.Condition
}

// Decide looks at one ServiceCIDR. others are all there are, itself included; addresses are all IPAddresses, asked for only when it is being deleted.
func Decide(c *networkingv1.ServiceCIDR, others []*networkingv1.ServiceCIDR, addresses []*networkingv1.IPAddress) Actions {
	kept := slices.Contains(c.Finalizers, clusterip.Finalizer)
	if c.DeletionTimestamp == nil {
		return Actions{Keep: !kept, Condition: changed(c, clusterip.Ready())}
	}
	if !kept {
		return Actions{}
	}
	orphans := Orphans(c, others, addresses)
	if len(orphans) == 0 {
		return Actions{LetGo: true}
	}
	first := orphans[0]
	whose := ""
	if h, ok := clusterip.HeldBy(first); ok {
		whose = fmt.Sprintf(" of Service %s/%s", h.Namespace, h.Name)
	}
	return Actions{Condition: changed(c, metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionFalse, Reason: networkingv1.ServiceCIDRReasonTerminating,
		Message: fmt.Sprintf("cluster IPs of it are in use, %d in all, such as %s%s: delete those Services, or create a ServiceCIDR that contains their addresses", len(orphans), first.Name, whose),
	})}
}

// changed is a condition that the ServiceCIDR does not have yet, or nil.
func changed(c *networkingv1.ServiceCIDR, want metav1.Condition) *metav1.Condition {
	if have := meta.FindStatusCondition(c.Status.Conditions, want.Type); have != nil && have.Status == want.Status && have.Reason == want.Reason && have.Message == want.Message {
		return nil
	}
	return &want
}

// Orphans are the addresses that would be in no range without c, in order.
func Orphans(c *networkingv1.ServiceCIDR, others []*networkingv1.ServiceCIDR, addresses []*networkingv1.IPAddress) []*networkingv1.IPAddress {
	var elsewhere []netip.Prefix
	for _, o := range others {
		if o.Name != c.Name && clusterip.Usable(o) {
			elsewhere = append(elsewhere, clusterip.Prefixes(o)...)
		}
	}
	type orphan struct {
		ip netip.Addr
		a  *networkingv1.IPAddress
	}
	var found []orphan
	for _, a := range addresses {
		ip, err := netip.ParseAddr(a.Name)
		if err == nil && clusterip.Managed(a) && contained(clusterip.Prefixes(c), ip) && !contained(elsewhere, ip) {
			found = append(found, orphan{ip, a})
		}
	}
	slices.SortFunc(found, func(a, b orphan) int { return a.ip.Compare(b.ip) })
	out := make([]*networkingv1.IPAddress, len(found))
	for i := range found {
		out[i] = found[i].a
	}
	return out
}

func contained(in []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(in, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Spare tells whether an IPAddress is no Service's any more: service is the one that it names, or nil. wait is how long it is too early to say.
func Spare(a *networkingv1.IPAddress, service *corev1.Service, now time.Time) (spare bool, wait time.Duration) {
	if !clusterip.Managed(a) || a.DeletionTimestamp != nil {
		return false, 0
	}
	if h, ok := clusterip.HeldBy(a); ok && service != nil && service.UID == h.UID && slices.Contains(names(service), a.Name) {
		return false, 0
	}
	if wait := grace - now.Sub(a.CreationTimestamp.Time); wait > 0 {
		return false, wait
	}
	return true, 0
}

func names(s *corev1.Service) []string {
	var out []string
	for _, ip := range clusterip.Of(s) {
		out = append(out, ip.String())
	}
	return out
}
