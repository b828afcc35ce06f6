package columns

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FlowSchema shows which priority its requests have.
var FlowSchema = Table[*flowcontrolv1.FlowSchema]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("PriorityLevel", "Priority of its requests"),
		text("MatchingPrecedence", "Lower ones are asked first"),
		text("DistinguisherMethod", "What makes a flow of requests"),
		age(),
		text("MissingPL", "Whether the priority level is missing"),
	},
	Row: func(s *flowcontrolv1.FlowSchema) []any {
		method, missing := none, "?"
		if s.Spec.DistinguisherMethod != nil {
			method = string(s.Spec.DistinguisherMethod.Type)
		}
		for _, c := range s.Status.Conditions {
			if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
				missing = string(c.Status)
			}
		}
		return []any{s.Name, s.Spec.PriorityLevelConfiguration.Name, fmt.Sprint(s.Spec.MatchingPrecedence), method, ageOf(s.CreationTimestamp), missing}
	},
}

// PriorityLevelConfiguration shows how many requests of a priority are served at a time.
var PriorityLevelConfiguration = Table[*flowcontrolv1.PriorityLevelConfiguration]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Type", "Limited or Exempt"),
		text("NominalConcurrencyShares", "Share of the requests that are served at a time"),
		text("Queues", "Number of queues"),
		text("HandSize", "Queues that a flow may use"),
		text("QueueLengthLimit", "Requests that may wait in a queue"),
		age(),
	},
	Row: func(l *flowcontrolv1.PriorityLevelConfiguration) []any {
		shares, queues, hand, length := none, none, none, none
		if e := l.Spec.Exempt; e != nil && e.NominalConcurrencyShares != nil {
			shares = fmt.Sprint(*e.NominalConcurrencyShares)
		}
		if limited := l.Spec.Limited; limited != nil {
			shares = fmt.Sprint(deref(limited.NominalConcurrencyShares))
			if q := limited.LimitResponse.Queuing; q != nil {
				queues, hand, length = fmt.Sprint(q.Queues), fmt.Sprint(q.HandSize), fmt.Sprint(q.QueueLengthLimit)
			}
		}
		return []any{l.Name, string(l.Spec.Type), shares, queues, hand, length, ageOf(l.CreationTimestamp)}
	},
}

// ClusterTrustBundle shows whose anchors they are.
var ClusterTrustBundle = Table[*certificatesv1.ClusterTrustBundle]{
	Columns: []metav1.TableColumnDefinition{name(), text("SignerName", "Whose trust anchors they are")},
	Row: func(b *certificatesv1.ClusterTrustBundle) []any {
		return []any{b.Name, orNone(b.Spec.SignerName)}
	},
}

// PodCertificateRequest shows for whom a node asks, and what was answered.
var PodCertificateRequest = Table[*certificatesv1.PodCertificateRequest]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("PodName", "Pod that is to have the certificate"),
		text("ServiceAccountName", "Whose identity the Pod has"),
		text("NodeName", "Node that asks"),
		text("SignerName", "Who is asked to sign"),
		text("State", "What was answered"),
		text("UnverifiedUserAnnotations", "What the Pod's author tells the signer"),
	},
	Row: func(r *certificatesv1.PodCertificateRequest) []any {
		state := "Pending"
		for _, c := range r.Status.Conditions {
			if c.Status == metav1.ConditionTrue {
				state = c.Type
			}
		}
		var notes []string
		for _, key := range slices.Sorted(maps.Keys(r.Spec.UnverifiedUserAnnotations)) {
			notes = append(notes, key+"="+r.Spec.UnverifiedUserAnnotations[key])
		}
		return []any{r.Name, r.Spec.PodName, r.Spec.ServiceAccountName, string(r.Spec.NodeName), r.Spec.SignerName, state, strings.Join(notes, ",")}
	},
}

// StorageVersionMigration shows how far a migration is.
var StorageVersionMigration = Table[*storagemigrationv1.StorageVersionMigration]{
	Columns: []metav1.TableColumnDefinition{name(), text("Resource", "What is written again"), text("Status", "How far it is")},
	Row: func(m *storagemigrationv1.StorageVersionMigration) []any {
		state := "Pending"
		for _, c := range m.Status.Conditions {
			if c.Status == metav1.ConditionTrue {
				state = c.Type
			}
		}
		return []any{m.Name, m.Spec.Resource.String(), state}
	},
}

// DeviceClass shows since when a class of devices exists.
var DeviceClass = Table[*resourcev1.DeviceClass]{
	Columns: []metav1.TableColumnDefinition{name(), age()},
	Row:     func(c *resourcev1.DeviceClass) []any { return []any{c.Name, ageOf(c.CreationTimestamp)} },
}

// DeviceTaintRule shows what is said of the devices it selects.
var DeviceTaintRule = Table[*resourcev1.DeviceTaintRule]{
	Columns: []metav1.TableColumnDefinition{
		name(), text("Key", "What is said"), text("Value", "More of it"), text("Effect", "What follows from it"), text("TimeAdded", "Since when"), age(),
	},
	Row: func(r *resourcev1.DeviceTaintRule) []any {
		t, added := r.Spec.Taint, ""
		if t.TimeAdded != nil {
			added = ageOf(*t.TimeAdded)
		}
		return []any{r.Name, t.Key, t.Value, string(t.Effect), added, ageOf(r.CreationTimestamp)}
	},
}

// ResourceClaim shows whether a claim has its devices.
var ResourceClaim = Table[*resourcev1.ResourceClaim]{
	Columns: []metav1.TableColumnDefinition{name(), text("State", "Whether there are devices, and somebody uses them"), age()},
	Row: func(c *resourcev1.ResourceClaim) []any {
		var states []string
		if c.DeletionTimestamp != nil {
			states = append(states, "deleted")
		}
		switch {
		case c.Status.Allocation == nil && c.DeletionTimestamp == nil:
			states = append(states, "pending")
		case c.Status.Allocation != nil:
			states = append(states, "allocated")
			if len(c.Status.ReservedFor) > 0 {
				states = append(states, "reserved")
			}
		}
		return []any{c.Name, strings.Join(states, ","), ageOf(c.CreationTimestamp)}
	},
}

// ResourceClaimTemplate shows since when a template exists.
var ResourceClaimTemplate = Table[*resourcev1.ResourceClaimTemplate]{
	Columns: []metav1.TableColumnDefinition{name(), age()},
	Row:     func(t *resourcev1.ResourceClaimTemplate) []any { return []any{t.Name, ageOf(t.CreationTimestamp)} },
}

// ResourceSlice shows whose devices are where.
var ResourceSlice = Table[*resourcev1.ResourceSlice]{
	Columns: []metav1.TableColumnDefinition{
		name(), text("Node", "Where the devices are"), text("Driver", "Whose devices they are"), text("Pool", "Pool that they belong to"), age(),
	},
	Row: func(s *resourcev1.ResourceSlice) []any {
		return []any{s.Name, orUnset(s.Spec.NodeName), s.Spec.Driver, s.Spec.Pool.Name, ageOf(s.CreationTimestamp)}
	},
}
