package admission

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
)

func attributes(op admission.Operation, obj, old runtime.Object, who string, groups ...string) admission.Attributes {
	gvk, gvr := corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithResource("pods")
	name := ""
	switch o := obj.(type) {
	case *corev1.Node:
		gvk, gvr, name = corev1.SchemeGroupVersion.WithKind("Node"), corev1.SchemeGroupVersion.WithResource("nodes"), o.Name
	case *corev1.Pod:
		name = o.Name
	}
	return admission.NewAttributesRecord(obj, old, gvk, "shop", name, gvr, "", op, nil, false, &user.DefaultInfo{Name: who, Groups: groups})
}

func TestAPodToleratesALostNodeForFiveMinutesUnlessItSaysOtherwise(t *testing.T) {
	sixty := int64(60)
	for name, test := range map[string]struct {
		op   admission.Operation
		in   []corev1.Toleration
		want []string
	}{
		"says nothing":             {admission.Create, nil, []string{"node.kubernetes.io/not-ready 300", "node.kubernetes.io/unreachable 300"}},
		"says it for one":          {admission.Create, []corev1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: "Exists", Effect: "NoExecute", TolerationSeconds: &sixty}}, []string{"node.kubernetes.io/not-ready 60", "node.kubernetes.io/unreachable 300"}},
		"tolerates everything":     {admission.Create, []corev1.Toleration{{Operator: "Exists"}}, []string{" 0"}},
		"replaces all in a change": {admission.Update, []corev1.Toleration{{Key: "a", Operator: "Exists"}}, []string{"a 0", "node.kubernetes.io/not-ready 300", "node.kubernetes.io/unreachable 300"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: test.in}}
			if err := defaultTolerations().Admit(t.Context(), attributes(test.op, p, nil, "alice"), nil); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, tol := range p.Spec.Tolerations {
				var s int64
				if tol.TolerationSeconds != nil {
					s = *tol.TolerationSeconds
				}
				got = append(got, fmt.Sprint(tol.Key, " ", s))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("tolerations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestANodeCannotPassForAnotherInWhatItWrites(t *testing.T) {
	node := func(name string, labels map[string]string, taints ...corev1.Taint) *corev1.Node {
		n := &corev1.Node{Spec: corev1.NodeSpec{Taints: taints}}
		n.Name, n.Labels = name, labels
		return n
	}
	pod := func(on, mirror string) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: on}}
		if mirror != "" {
			p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: mirror}
		}
		return p
	}
	for name, test := range map[string]struct {
		op       admission.Operation
		obj, old runtime.Object
		refused  bool
	}{
		"its own Node":               {admission.Create, node("n1", nil), nil, false},
		"another Node":               {admission.Create, node("n2", nil), nil, true},
		"a reserved label":           {admission.Create, node("n1", map[string]string{"node-restriction.kubernetes.io/zone": "a"}), nil, true},
		"a reserved label it has":    {admission.Update, node("n1", map[string]string{"node-restriction.kubernetes.io/zone": "a"}), node("n1", map[string]string{"node-restriction.kubernetes.io/zone": "a"}), false},
		"its taints":                 {admission.Update, node("n1", nil), node("n1", nil, corev1.Taint{Key: "k", Effect: "NoSchedule"}), true},
		"a mirror Pod on itself":     {admission.Create, pod("n1", "x"), nil, false},
		"a mirror Pod elsewhere":     {admission.Create, pod("n2", "x"), nil, true},
		"a Pod that is not a mirror": {admission.Create, pod("n1", ""), nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := &nodeRestriction{Handler: admission.NewHandler(admission.Create, admission.Update)}
			err := r.Validate(t.Context(), attributes(test.op, test.obj, test.old, "system:node:n1", "system:nodes"), nil)
			if (err != nil) != test.refused {
				t.Errorf("got %v, want refused=%v", err, test.refused)
			}
			if err := r.Validate(t.Context(), attributes(test.op, test.obj, test.old, "alice", "system:masters"), nil); err != nil {
				t.Errorf("somebody who is no node is refused: %v", err)
			}
		})
	}
}
