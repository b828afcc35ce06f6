package columns

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var eventColumns = []metav1.TableColumnDefinition{
	text("Last Seen", "Time since it happened last"),
	text("Type", "Normal or Warning"),
	text("Reason", "What happened, in one word"),
	text("Object", "What it happened to"),
	wideText("Subobject", "Which part of the object"),
	wideText("Source", "Who says so, and where"),
	text("Message", "What happened"),
	wideText("First Seen", "Time since it happened first"),
	wideText("Count", "How often it happened"),
	{Name: "Name", Type: "string", Format: "name", Priority: wide, Description: "Name of the Event"},
}

// Event shows what happened, as core/v1 tells it.
var Event = Table[*corev1.Event]{
	Columns: eventColumns,
	Row: func(e *corev1.Event) []any {
		first, last, count := microAgeOf(e.EventTime), microAgeOf(e.EventTime), e.Count
		if !e.FirstTimestamp.IsZero() {
			first = ageOf(e.FirstTimestamp)
		}
		switch {
		case e.Series != nil:
			last, count = microAgeOf(e.Series.LastObservedTime), e.Series.Count
		case !e.LastTimestamp.IsZero():
			last = ageOf(e.LastTimestamp)
		case e.EventTime.IsZero():
			last = first
		}
		return eventRow(e.Name, first, last, e.Type, e.Reason, e.Message, count, &e.InvolvedObject, eventSource(e.Source, e.ReportingController, e.ReportingInstance))
	},
}

// EventV1 shows the same as Event, as events.k8s.io/v1 tells it.
var EventV1 = Table[*eventsv1.Event]{
	Columns: eventColumns,
	Row: func(e *eventsv1.Event) []any {
		first, last, count := microAgeOf(e.EventTime), microAgeOf(e.EventTime), e.DeprecatedCount
		if !e.DeprecatedFirstTimestamp.IsZero() {
			first = ageOf(e.DeprecatedFirstTimestamp)
		}
		switch {
		case e.Series != nil:
			last, count = microAgeOf(e.Series.LastObservedTime), e.Series.Count
		case !e.DeprecatedLastTimestamp.IsZero():
			last = ageOf(e.DeprecatedLastTimestamp)
		case e.EventTime.IsZero():
			last = first
		}
		return eventRow(e.Name, first, last, e.Type, e.Reason, e.Note, count, &e.Regarding, eventSource(e.DeprecatedSource, e.ReportingController, e.ReportingInstance))
	},
}

func eventRow(name, first, last, eventType, reason, message string, count int32, of *corev1.ObjectReference, source string) []any {
	if count == 0 {
		count = 1 // an Event that is no series happened once
	}
	object := strings.ToLower(of.Kind)
	if of.Name != "" {
		object = fmt.Sprintf("%s/%s", object, of.Name)
	}
	return []any{last, eventType, reason, object, of.FieldPath, source, strings.TrimSpace(message), first, fmt.Sprint(count), name}
}

func eventSource(source corev1.EventSource, controller, instance string) string {
	component, host := source.Component, source.Host
	if component == "" {
		component = controller
	}
	if host == "" {
		host = instance
	}
	if host == "" {
		return component
	}
	return component + ", " + host
}
