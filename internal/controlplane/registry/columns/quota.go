package columns

//lint:file-ignore SA1019 Endpoints are deprecated and served all the same

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// LimitRange shows when it was made; its limits are for `kubectl describe`.
var LimitRange = Table[*corev1.LimitRange]{
	Columns: []metav1.TableColumnDefinition{name(), text("Created At", "When the object was created")},
	Row:     func(l *corev1.LimitRange) []any { return []any{l.Name, createdAt(l.CreationTimestamp)} },
}

// ResourceQuota shows how much is used of what is allowed.
var ResourceQuota = Table[*corev1.ResourceQuota]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Request", "Used and allowed requests and objects"),
		text("Limit", "Used and allowed limits"),
		age(),
	},
	Row: func(q *corev1.ResourceQuota) []any {
		var requests, limits []string
		for _, resource := range slices.Sorted(maps.Keys(q.Status.Hard)) {
			used, hard := q.Status.Used[resource], q.Status.Hard[resource]
			cell := fmt.Sprintf("%s: %s/%s", resource, used.String(), hard.String())
			if strings.HasPrefix(string(resource), "limits") {
				limits = append(limits, cell)
			} else {
				requests = append(requests, cell)
			}
		}
		return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), ageOf(q.CreationTimestamp)}
	},
}

// Endpoints shows the first few addresses behind a Service.
var Endpoints = Table[*corev1.Endpoints]{
	Columns: []metav1.TableColumnDefinition{name(), text("Endpoints", "Addresses and ports that answer"), age()},
	Row: func(e *corev1.Endpoints) []any {
		var list []string
		for _, s := range e.Subsets {
			for _, a := range s.Addresses {
				if len(s.Ports) == 0 {
					list = append(list, a.IP)
				}
				for _, p := range s.Ports {
					list = append(list, hostPort(a.IP, p.Port))
				}
			}
		}
		if len(list) == 0 {
			return []any{e.Name, none, ageOf(e.CreationTimestamp)}
		}
		return []any{e.Name, firstFew(list), ageOf(e.CreationTimestamp)}
	},
}

func hostPort(ip string, port int32) string {
	if strings.Contains(ip, ":") {
		return fmt.Sprintf("[%s]:%d", ip, port)
	}
	return fmt.Sprintf("%s:%d", ip, port)
}

// PodTemplate shows what Pods would run.
var PodTemplate = Table[*corev1.PodTemplate]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Containers", "Names of the template's containers"),
		text("Images", "Images of the template's containers"),
		text("Pod Labels", "Labels of the Pods that would be made"),
	},
	Row: func(t *corev1.PodTemplate) []any {
		cells := templateCells(&t.Template, nil)
		return []any{t.Name, cells[0], cells[1], labels.FormatLabels(t.Template.Labels)}
	},
}

// ComponentStatus shows whether a component answers.
var ComponentStatus = Table[*corev1.ComponentStatus]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Status", "Healthy, Unhealthy or Unknown"),
		text("Message", "What the component answered"),
		text("Error", "Why it could not be asked"),
	},
	Row: func(c *corev1.ComponentStatus) []any {
		status, message, failure := "Unknown", "", ""
		for _, condition := range c.Conditions {
			if condition.Type != corev1.ComponentHealthy {
				continue
			}
			message, failure = condition.Message, condition.Error
			switch condition.Status {
			case corev1.ConditionTrue:
				status = "Healthy"
			case corev1.ConditionFalse:
				status = "Unhealthy"
			}
		}
		return []any{c.Name, status, message, failure}
	},
}
