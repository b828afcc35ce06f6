package columns

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Deployment shows how far a rollout is.
var Deployment = Table[*appsv1.Deployment]{
	Columns: append([]metav1.TableColumnDefinition{
		name(),
		text("Ready", "Pods that are ready, of those wanted"),
		integer("Up-to-date", "Pods made from the present template"),
		integer("Available", "Pods that have been ready for minReadySeconds"),
		age(),
	}, templateColumns...),
	Row: func(d *appsv1.Deployment) []any {
		return append([]any{
			d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, deref(d.Spec.Replicas)),
			int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas), ageOf(d.CreationTimestamp),
		}, templateCells(&d.Spec.Template, d.Spec.Selector)...)
	},
}

// ReplicaSet shows how many of its Pods there are.
var ReplicaSet = Table[*appsv1.ReplicaSet]{
	Columns: append([]metav1.TableColumnDefinition{
		name(),
		integer("Desired", "Pods that are wanted"),
		integer("Current", "Pods that there are"),
		integer("Ready", "Pods that are ready"),
		age(),
	}, templateColumns...),
	Row: func(r *appsv1.ReplicaSet) []any {
		return append([]any{
			r.Name, int64(deref(r.Spec.Replicas)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas), ageOf(r.CreationTimestamp),
		}, templateCells(&r.Spec.Template, r.Spec.Selector)...)
	},
}

var templateColumns = []metav1.TableColumnDefinition{
	wideText("Containers", "Names of the template's containers"),
	wideText("Images", "Images of the template's containers"),
	wideText("Selector", "Labels of the Pods that belong to the object"),
}

func templateCells(template *corev1.PodTemplateSpec, selector *metav1.LabelSelector) []any {
	names, images := make([]string, len(template.Spec.Containers)), make([]string, len(template.Spec.Containers))
	for i, c := range template.Spec.Containers {
		names[i], images[i] = c.Name, c.Image
	}
	return []any{strings.Join(names, ","), strings.Join(images, ","), metav1.FormatLabelSelector(selector)}
}
