package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
)

// notReadySeconds is how long a Pod stays on a node that is not ready or cannot be reached, unless it says otherwise: Kubernetes' default.
const notReadySeconds = 300

var podResource = []schema.GroupResource{corev1.Resource("pods")}

// defaultTolerations gives a Pod the time it tolerates a lost node. An update that sets other tolerations means those that the client knows of, not these.
func defaultTolerations() *rule {
	return rule{of: podResource, admit: func(_ context.Context, a admission.Attributes) error {
		if pod, ok := object[*corev1.Pod](a); ok {
			for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
				tolerate(pod, key)
			}
		}
		return nil
	}}.on(nil, admission.Create, admission.Update)
}

func tolerate(pod *corev1.Pod, key string) {
	for _, t := range pod.Spec.Tolerations {
		if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return
		}
	}
	seconds := int64(notReadySeconds)
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
		Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
	})
}

// taintNewNodes keeps Pods off a node that has not said yet that it is ready: between its creation and its first status the scheduler would count on it.
func taintNewNodes() *rule {
	return rule{of: []schema.GroupResource{corev1.Resource("nodes")}, admit: func(_ context.Context, a admission.Attributes) error {
		if n, ok := object[*corev1.Node](a); ok {
			taintUnlessReady(n)
		}
		return nil
	}}.on(nil, admission.Create)
}

func taintUnlessReady(n *corev1.Node) {
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	ready := slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	if !ready && !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
		n.Spec.Taints = append(n.Spec.Taints, taint)
	}
}
