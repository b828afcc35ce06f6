package deployment

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Annotations that kubectl and other clients of Deployments read.
const (
	annotationRevision = "deployment.kubernetes.io/revision"
	// annotationHistory lists the revisions that a ReplicaSet held before it was rolled back to.
	annotationHistory = "deployment.kubernetes.io/revision-history"
	// annotationDesired is the Deployment's spec.replicas when the ReplicaSet was last scaled; another value means the Deployment is being scaled.
	annotationDesired = "deployment.kubernetes.io/desired-replicas"
	// annotationMax is annotationDesired and the surge that was allowed; the base of proportional scaling.
	annotationMax = "deployment.kubernetes.io/max-replicas"
)

// maxHistory bounds annotationHistory, which would otherwise grow with every rollback.
const maxHistory = 2000

// notCopied stay with the Deployment: they are about that object, not about its template.
var notCopied = []string{
	annotationRevision, annotationHistory, annotationDesired, annotationMax,
	corev1.LastAppliedConfigAnnotation, appsv1.DeprecatedRollbackTo,
	v1alpha1.AnnotationOrigin, v1alpha1.AnnotationChangedBy,
}

// revisionOf is 0 for an object without a revision.
func revisionOf(annotations map[string]string) int64 {
	n, err := strconv.ParseInt(annotations[annotationRevision], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// newSetAnnotations are those of the ReplicaSet of the present template: the Deployment's, its revision and history, and the sizes.
func newSetAnnotations(d *appsv1.Deployment, current map[string]string, revision int64) map[string]string {
	out := maps.Clone(current)
	if out == nil {
		out = map[string]string{}
	}
	for k, v := range d.Annotations {
		if !slices.Contains(notCopied, k) {
			out[k] = v
		}
	}
	if old := revisionOf(current); old != 0 && old < revision {
		history := strconv.FormatInt(old, 10)
		if h := out[annotationHistory]; h != "" {
			history = h + "," + history
		}
		for len(history) > maxHistory {
			_, history, _ = strings.Cut(history, ",")
		}
		out[annotationHistory] = history
	}
	out[annotationRevision] = strconv.FormatInt(max(revision, revisionOf(current)), 10)
	return out
}

// sized returns annotations with the sizes of d written in.
func sized(d *appsv1.Deployment, annotations map[string]string) map[string]string {
	out := maps.Clone(annotations)
	if out == nil {
		out = map[string]string{}
	}
	desired := ptr.Deref(d.Spec.Replicas, 1)
	out[annotationDesired] = strconv.Itoa(int(desired))
	out[annotationMax] = strconv.Itoa(int(desired + maxSurge(d)))
	return out
}

// desiredThen is the Deployment's size when rs was last scaled.
func desiredThen(rs *appsv1.ReplicaSet) (int32, bool) { return number(rs, annotationDesired) }

// maxThen is the largest total that was allowed when rs was last scaled.
func maxThen(rs *appsv1.ReplicaSet) (int32, bool) { return number(rs, annotationMax) }

func number(rs *appsv1.ReplicaSet, annotation string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[annotation], 10, 32)
	return int32(n), err == nil
}
