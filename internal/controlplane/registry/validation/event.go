package validation

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits of KEP-383, the new Event API.
const (
	maxEventReason = 128
	maxEventNote   = 1024
)

// Event says what may be created as a core/v1 Event. An Event without eventTime is of the old form, whose only promise is to lie
// in the namespace of what it is about.
func Event(obj *corev1.Event) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, eventContent(obj)...)
}

func eventContent(obj *corev1.Event) field.ErrorList {
	at := field.NewPath("involvedObject", "namespace")
	if obj.EventTime.IsZero() {
		return eventNamespace(at, obj.Namespace, obj.InvolvedObject.Namespace, metav1.NamespaceDefault)
	}
	errs := eventNamespace(at, obj.Namespace, obj.InvolvedObject.Namespace, metav1.NamespaceDefault, metav1.NamespaceSystem)
	errs = append(errs, required(field.NewPath("reportingComponent"), obj.ReportingController)...)
	if obj.ReportingController != "" {
		errs = append(errs, qualifiedName(field.NewPath("reportingComponent"), obj.ReportingController)...)
	}
	errs = append(errs, eventText(field.NewPath("reportingInstance"), obj.ReportingInstance, maxEventReason)...)
	errs = append(errs, eventText(field.NewPath("action"), obj.Action, maxEventReason)...)
	errs = append(errs, eventText(field.NewPath("reason"), obj.Reason, maxEventReason)...)
	if len(obj.Message) > maxEventNote {
		errs = append(errs, field.Invalid(field.NewPath("message"), "", fmt.Sprintf("can have at most %v characters", maxEventNote)))
	}
	return errs
}

// EventV1 says what may be created as an events.k8s.io/v1 Event, where all that is documented as required is.
func EventV1(obj *eventsv1.Event) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, eventV1Content(obj)...)
}

func eventV1Content(obj *eventsv1.Event) field.ErrorList {
	errs := eventNamespace(field.NewPath("regarding", "namespace"), obj.Namespace, obj.Regarding.Namespace, metav1.NamespaceDefault, metav1.NamespaceSystem)
	if obj.EventTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	errs = append(errs, required(field.NewPath("reportingController"), obj.ReportingController)...)
	if obj.ReportingController != "" {
		errs = append(errs, qualifiedName(field.NewPath("reportingController"), obj.ReportingController)...)
	}
	errs = append(errs, eventText(field.NewPath("reportingInstance"), obj.ReportingInstance, maxEventReason)...)
	errs = append(errs, eventText(field.NewPath("action"), obj.Action, maxEventReason)...)
	errs = append(errs, eventText(field.NewPath("reason"), obj.Reason, maxEventReason)...)
	errs = append(errs, requiredOneOf(field.NewPath("type"), obj.Type, corev1.EventTypeNormal, corev1.EventTypeWarning)...)
	if len(obj.Note) > maxEventNote {
		errs = append(errs, field.Invalid(field.NewPath("note"), "", fmt.Sprintf("can have at most %v characters", maxEventNote)))
	}
	if obj.Series != nil {
		errs = append(errs, eventSeries(field.NewPath("series"), obj.Series)...)
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"deprecatedFirstTimestamp", !obj.DeprecatedFirstTimestamp.IsZero()},
		{"deprecatedLastTimestamp", !obj.DeprecatedLastTimestamp.IsZero()},
		{"deprecatedCount", obj.DeprecatedCount != 0},
		{"deprecatedSource", obj.DeprecatedSource != (corev1.EventSource{})},
	} {
		if f.set {
			errs = append(errs, field.Invalid(field.NewPath(f.name), "", "needs to be unset"))
		}
	}
	return errs
}

// eventSeries wants a series to have more than one occurrence, or it would be none.
func eventSeries(at *field.Path, series *eventsv1.EventSeries) field.ErrorList {
	var errs field.ErrorList
	if series.Count < 2 {
		errs = append(errs, field.Invalid(at.Child("count"), series.Count, "should be at least 2"))
	}
	if series.LastObservedTime.IsZero() {
		errs = append(errs, field.Required(at.Child("lastObservedTime"), ""))
	}
	return errs
}

// eventNamespace wants an Event to lie where its object does; Events about objects without a namespace have to lie somewhere.
func eventNamespace(at *field.Path, namespace, of string, forCluster ...string) field.ErrorList {
	if namespace == of {
		return nil
	}
	for _, allowed := range forCluster {
		if of == "" && namespace == allowed {
			return nil
		}
	}
	return field.ErrorList{field.Invalid(at, of, "does not match event.namespace")}
}

func eventText(at *field.Path, text string, limit int) field.ErrorList {
	if text == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if len(text) > limit {
		return field.ErrorList{field.Invalid(at, "", fmt.Sprintf("can have at most %v characters", limit))}
	}
	return nil
}

// EventUpdate says what a core/v1 Event may be replaced with.
func EventUpdate(obj, old *corev1.Event) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	return append(errs, eventContent(obj)...)
}

// EventV1Update says what an events.k8s.io/v1 Event may be replaced with: only its series goes on.
func EventV1Update(obj, old *eventsv1.Event) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	for _, f := range []struct {
		name     string
		obj, old any
	}{
		{"regarding", obj.Regarding, old.Regarding},
		{"reason", obj.Reason, old.Reason},
		{"note", obj.Note, old.Note},
		{"deprecatedSource", obj.DeprecatedSource, old.DeprecatedSource},
		{"deprecatedFirstTimestamp", obj.DeprecatedFirstTimestamp, old.DeprecatedFirstTimestamp},
		{"deprecatedLastTimestamp", obj.DeprecatedLastTimestamp, old.DeprecatedLastTimestamp},
		{"deprecatedCount", obj.DeprecatedCount, old.DeprecatedCount},
		{"type", obj.Type, old.Type},
		{"eventTime", obj.EventTime, old.EventTime},
		{"action", obj.Action, old.Action},
		{"related", obj.Related, old.Related},
		{"reportingController", obj.ReportingController, old.ReportingController},
		{"reportingInstance", obj.ReportingInstance, old.ReportingInstance},
	} {
		errs = append(errs, validateImmutable(f.obj, f.old, field.NewPath(f.name))...)
	}
	// An Event of the old form, read in the new one, cannot keep rules that it was not made by.
	if old.EventTime.IsZero() {
		return errs
	}
	return append(errs, eventV1Content(obj)...)
}
