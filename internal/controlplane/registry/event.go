package registry

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/conversion"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// eventTTLSeconds is how long an Event is kept: an hour, as clients know it.
const eventTTLSeconds = 3600

// events are stored as core/v1 has them and served by two groups.
var events = Kind[*corev1.Event]{
	Resource: "events", Singular: "event", ShortNames: []string{"ev"},
	New: func() *corev1.Event { return &corev1.Event{} }, NewList: func() runtime.Object { return &corev1.EventList{} },
	Columns:  columns.Event,
	Validate: validation.Event, ValidateUpdate: validation.EventUpdate,
	TTLSeconds: eventTTLSeconds, CreateOnUpdate: true,
	Fields: func(e *corev1.Event) fields.Set {
		source := e.Source.Component
		if source == "" {
			source = e.ReportingController
		}
		return fields.Set{
			"involvedObject.kind": e.InvolvedObject.Kind, "involvedObject.namespace": e.InvolvedObject.Namespace,
			"involvedObject.name": e.InvolvedObject.Name, "involvedObject.uid": string(e.InvolvedObject.UID),
			"involvedObject.apiVersion": e.InvolvedObject.APIVersion, "involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
			"involvedObject.fieldPath": e.InvolvedObject.FieldPath,
			"reason":                   e.Reason, "reportingComponent": e.ReportingController, "source": source, "type": e.Type,
		}
	},
}

// eventsV1 serves the stored Events by the rules of events.k8s.io, which are stricter.
func eventsV1(s rest.Storage) rest.Storage {
	main, ok := s.(*resource)
	if !ok {
		return s
	}
	kind := events
	kind.Validate = func(e *corev1.Event) field.ErrorList { return validation.EventV1(conversion.EventV1(e)) }
	kind.ValidateUpdate = func(e, old *corev1.Event) field.ErrorList {
		return validation.EventV1Update(conversion.EventV1(e), conversion.EventV1(old))
	}
	store, rules := *main.Store, strategy[*corev1.Event]{kind: kind, gv: eventsv1.SchemeGroupVersion}
	store.CreateStrategy, store.UpdateStrategy, store.DeleteStrategy, store.ResetFieldsStrategy = rules, rules, rules, rules
	return &resource{Store: &store, revision: main.revision, shortNames: main.shortNames, categories: main.categories}
}
