package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/resource"
)

// topology are the labels of a node that its Pods carry, so that a program can learn from its own Pod where it runs.
var topology = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion}

// topologyLabels gives a Pod the labels of where its node is, when it is bound or made for the node.
func topologyLabels(f informers.SharedInformerFactory) *rule {
	inf := f.Core().V1().Nodes()
	return rule{of: podResource, admit: func(_ context.Context, a admission.Attributes) error {
		var of metav1.Object
		name := ""
		if binding, ok := a.GetObject().(*corev1.Binding); ok && binding.Target.Kind == "Node" {
			of, name = binding, binding.Target.Name
		} else if pod, ok := object[*corev1.Pod](a); ok {
			of, name = pod, pod.Spec.NodeName
		}
		if name == "" {
			return nil
		}
		node, err := inf.Lister().Get(name)
		if apierrors.IsNotFound(err) {
			return nil // it may be about to register
		}
		if err != nil {
			return err
		}
		labels := of.GetLabels()
		for _, key := range topology {
			if value, ok := node.Labels[key]; ok {
				if labels == nil {
					labels = map[string]string{}
				}
				labels[key] = value
			}
		}
		of.SetLabels(labels)
		return nil
	}}.on([]cache.InformerSynced{inf.Informer().HasSynced}, admission.Create)
}

// The causes by which clients tell why a Pod cannot be resized.
const (
	causeNodeCapacity        metav1.CauseType = "NodeCapacity"
	causeUnsupportedPlatform metav1.CauseType = "UnsupportedPlatform"
)

// resizeFits refuses to give a running Pod more than its node could ever give it: it would wait for it for good.
func resizeFits(f informers.SharedInformerFactory) *rule {
	inf := f.Core().V1().Nodes()
	return rule{of: podResource, validate: func(_ context.Context, a admission.Attributes) error {
		pod, ok := object[*corev1.Pod](a, "resize")
		old := oldObject[*corev1.Pod](a)
		if !ok || a.GetSubresource() != "resize" || old == nil || pod.Spec.NodeName == "" || pod.Generation == old.Generation {
			return nil
		}
		node, err := inf.Lister().Get(pod.Spec.NodeName)
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("node %q not found", pod.Spec.NodeName)
		}
		if err != nil {
			return err
		}
		if system, ok := node.Labels[corev1.LabelOSStable]; ok && system != "linux" {
			return because(a, causeUnsupportedPlatform, fmt.Errorf("pod resize is only supported on linux nodes, node %q is %q", node.Name, system))
		}
		if lacks := tooMuch(pod, node.Status.Allocatable); len(lacks) > 0 {
			return because(a, causeNodeCapacity, fmt.Errorf("node didn't have enough allocatable resources: %s", strings.Join(lacks, "; ")))
		}
		return nil
	}}.on([]cache.InformerSynced{inf.Informer().HasSynced}, admission.Update)
}

// tooMuch lists what a Pod asks for beyond all that a node has.
func tooMuch(pod *corev1.Pod, allocatable corev1.ResourceList) []string {
	requests := resource.PodRequests(pod, resource.PodResourcesOptions{})
	var out []string
	if want, has := requests.Cpu(), allocatable.Cpu(); want.Cmp(*has) > 0 {
		out = append(out, fmt.Sprintf("cpu, requested: %d, allocatable: %d", want.MilliValue(), has.MilliValue()))
	}
	if want, has := requests.Memory(), allocatable.Memory(); want.Cmp(*has) > 0 {
		out = append(out, fmt.Sprintf("memory, requested: %d, allocatable: %d", want.Value(), has.Value()))
	}
	return out
}

// because is a refusal whose cause programs can read.
func because(a admission.Attributes, cause metav1.CauseType, err error) error {
	refused := admission.NewForbidden(a, err)
	if status := (*apierrors.StatusError)(nil); errors.As(refused, &status) {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
	}
	return refused
}
