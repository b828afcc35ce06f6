package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// runtimeClass gives a Pod what its RuntimeClass says: what the runtime itself takes, and the nodes that have it.
func runtimeClass(f informers.SharedInformerFactory, client kubernetes.Interface) *rule {
	inf := f.Node().V1().RuntimeClasses()
	find := func(ctx context.Context, pod *corev1.Pod) (*nodev1.RuntimeClass, error) {
		if pod.Spec.RuntimeClassName == nil || *pod.Spec.RuntimeClassName == "" {
			return nil, nil
		}
		name := *pod.Spec.RuntimeClassName
		class, err := inf.Lister().Get(name)
		if apierrors.IsNotFound(err) {
			// It may have been made a moment ago.
			class, err = client.NodeV1().RuntimeClasses().Get(ctx, name, metav1.GetOptions{})
		}
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("pod rejected: RuntimeClass %q not found", name)
		}
		return class, err
	}
	return rule{of: podResource, admit: func(ctx context.Context, a admission.Attributes) error {
		pod, ok := object[*corev1.Pod](a)
		if !ok {
			return nil
		}
		class, err := find(ctx, pod)
		if err != nil || class == nil {
			return err
		}
		return useRuntimeClass(pod, class)
	}, validate: func(ctx context.Context, a admission.Attributes) error {
		pod, ok := object[*corev1.Pod](a)
		if !ok {
			return nil
		}
		class, err := find(ctx, pod)
		if err != nil {
			return err
		}
		return overheadFits(pod, class)
	}}.on([]cache.InformerSynced{inf.Informer().HasSynced}, admission.Create)
}

func useRuntimeClass(pod *corev1.Pod, class *nodev1.RuntimeClass) error {
	if class.Overhead != nil {
		if pod.Spec.Overhead != nil && !equality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
			return fmt.Errorf("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
		}
		pod.Spec.Overhead = class.Overhead.PodFixed.DeepCopy()
	}
	if class.Scheduling == nil {
		return nil
	}
	for key, value := range class.Scheduling.NodeSelector {
		if have, ok := pod.Spec.NodeSelector[key]; ok && have != value {
			return fmt.Errorf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, value, key, have)
		}
		if pod.Spec.NodeSelector == nil {
			pod.Spec.NodeSelector = map[string]string{}
		}
		pod.Spec.NodeSelector[key] = value
	}
	for _, t := range class.Scheduling.Tolerations {
		if !slices.ContainsFunc(pod.Spec.Tolerations, func(have corev1.Toleration) bool { return equality.Semantic.DeepEqual(have, t) }) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, *t.DeepCopy())
		}
	}
	return nil
}

// overheadFits refuses an overhead that no class explains: it would let a Pod hide what it takes from others.
func overheadFits(pod *corev1.Pod, class *nodev1.RuntimeClass) error {
	switch {
	case class != nil && class.Overhead != nil && !equality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead):
		return fmt.Errorf("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
	case (class == nil || class.Overhead == nil) && len(pod.Spec.Overhead) > 0:
		return fmt.Errorf("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
	}
	return nil
}
