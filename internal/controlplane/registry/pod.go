package registry

import (
	"context"
	"fmt"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/dryrun"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

func pods(d Deps, r *Registry) entry {
	return Kind[*corev1.Pod]{
		Resource: "pods", Singular: "pod", ShortNames: []string{"po"}, Categories: []string{"all"},
		New: func() *corev1.Pod { return &corev1.Pod{} }, NewList: func() runtime.Object { return &corev1.PodList{} },
		Columns:   columns.Pod,
		HasStatus: true, StatusAlone: true, MetadataWithStatus: true, HasGeneration: true,
		PrepareCreate: func(_ context.Context, p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(p)}
			if len(p.Spec.SchedulingGates) > 0 {
				p.Status.Conditions = []corev1.PodCondition{{
					Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
					Message: "Scheduling is blocked due to non-empty scheduling gates",
				}}
			}
		},
		Validate: validation.Pod, ValidateUpdate: validation.PodUpdate, ValidateStatus: validation.PodStatusUpdate,
		Fields: func(p *corev1.Pod) fields.Set {
			return fields.Set{
				"spec.nodeName": p.Spec.NodeName, "spec.restartPolicy": string(p.Spec.RestartPolicy),
				"spec.schedulerName": p.Spec.SchedulerName, "spec.serviceAccountName": p.Spec.ServiceAccountName,
				"spec.hostNetwork": strconv.FormatBool(p.Spec.HostNetwork),
				"status.phase":     string(p.Status.Phase), "status.podIP": p.Status.PodIP,
				"status.nominatedNodeName": p.Status.NominatedNodeName,
			}
		},
		Indexed: "spec.nodeName",
		Grace:   podGrace,
		Wrap:    newPodsREST,
		Customize: func(s *genericregistry.Store) {
			// The deleted Pod itself is what clients get back, with its last state.
			s.ReturnDeletedObject = true
		},
		More: func(s *genericregistry.Store) map[string]rest.Storage {
			more := map[string]rest.Storage{
				"binding":     &bindingREST{store: s},
				"eviction":    &evictionREST{store: s, registry: r},
				"log":         &logREST{store: s, nodes: d.Nodes, registry: r},
				"exec":        &streamREST{store: s, nodes: d.Nodes, registry: r, verb: "exec", options: func() runtime.Object { return &corev1.PodExecOptions{} }},
				"attach":      &streamREST{store: s, nodes: d.Nodes, registry: r, verb: "attach", options: func() runtime.Object { return &corev1.PodAttachOptions{} }},
				"portforward": &streamREST{store: s, nodes: d.Nodes, registry: r, verb: "portForward", options: func() runtime.Object { return &corev1.PodPortForwardOptions{} }},
			}
			for name, rules := range podParts(s.UpdateStrategy) {
				part := *s
				part.UpdateStrategy = rules
				more[name] = &subresource{store: &part}
			}
			return more
		},
	}
}

// podGrace gives a Pod the time that its spec asks for, or the client's; a Pod that runs nowhere needs none.
func podGrace(p *corev1.Pod, asked *int64) (int64, bool) {
	switch {
	case p.Spec.NodeName == "", p.Status.Phase == corev1.PodFailed, p.Status.Phase == corev1.PodSucceeded:
		return 0, true
	case asked != nil:
		return *asked, true
	case p.Spec.TerminationGracePeriodSeconds != nil:
		return max(*p.Spec.TerminationGracePeriodSeconds, 0), true
	}
	return corev1.DefaultTerminationGracePeriodSeconds, true
}

// qosClass derives the quality of service from the requests and limits of all containers (the Pod QoS page of the Kubernetes documentation).
func qosClass(p *corev1.Pod) corev1.PodQOSClass {
	guaranteed, any := true, false
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for _, c := range list {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				req, hasReq := c.Resources.Requests[name]
				lim, hasLim := c.Resources.Limits[name]
				any = any || (hasReq && !req.IsZero()) || (hasLim && !lim.IsZero())
				if !hasLim || lim.IsZero() || (hasReq && req.Cmp(lim) != 0) {
					guaranteed = false
				}
			}
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// bindingREST assigns a Pod to a node, once.
type bindingREST struct{ store *genericregistry.Store }

var (
	_ rest.NamedCreater                   = (*bindingREST)(nil)
	_ rest.SubresourceObjectMetaPreserver = (*bindingREST)(nil)
)

func (*bindingREST) New() runtime.Object { return &corev1.Binding{} }

func (*bindingREST) Destroy() {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps the UID and the resource version, which are preconditions here.
func (*bindingREST) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

func (r *bindingREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	b, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Binding, got a %T", obj))
	}
	if b.Name != name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the Binding is named %q, the URL names the Pod %q", b.Name, name))
	}
	if errs := validation.Binding(b); len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Binding").GroupKind(), name, errs)
	}
	if validate != nil {
		if err := validate(ctx, b); err != nil {
			return nil, err
		}
	}
	key, err := r.store.KeyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	preconditions := &storage.Preconditions{}
	if b.UID != "" {
		preconditions.UID = &b.UID
	}
	if b.ResourceVersion != "" {
		preconditions.ResourceVersion = &b.ResourceVersion
	}
	err = r.store.Storage.GuaranteedUpdate(ctx, key, &corev1.Pod{}, false, preconditions, storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
		p := obj.(*corev1.Pod)
		switch {
		case p.DeletionTimestamp != nil:
			return nil, fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", p.Name)
		case p.Spec.NodeName != "":
			return nil, fmt.Errorf("pod %s is already assigned to node %q", p.Name, p.Spec.NodeName)
		case len(p.Spec.SchedulingGates) > 0:
			return nil, fmt.Errorf("pod %s has non-empty .spec.schedulingGates", p.Name)
		}
		p.Spec.NodeName = b.Target.Name
		p.Status.NominatedNodeName = "" // a promise that is kept, or was not needed, is none any more
		if p.Annotations == nil && len(b.Annotations) > 0 {
			p.Annotations = map[string]string{}
		}
		maps.Copy(p.Annotations, b.Annotations)
		if p.Labels == nil && len(b.Labels) > 0 {
			p.Labels = map[string]string{}
		}
		maps.Copy(p.Labels, b.Labels)
		setScheduled(p)
		return p, nil
	}), dryrun.IsDryRun(options.DryRun), nil)
	if err != nil {
		if storage.IsNotFound(err) {
			return nil, apierrors.NewNotFound(r.store.DefaultQualifiedResource, name)
		}
		return nil, apierrors.NewConflict(corev1.Resource("pods/binding"), name, err)
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// setScheduled records in the binding's own transaction that the Pod has a node.
func setScheduled(p *corev1.Pod) {
	c := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(), ObservedGeneration: p.Generation}
	for i, old := range p.Status.Conditions {
		if old.Type == corev1.PodScheduled {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			p.Status.Conditions[i] = c
			return
		}
	}
	p.Status.Conditions = append(p.Status.Conditions, c)
}

// getPod reads the Pod that a connecting request is about.
func getPod(ctx context.Context, s *genericregistry.Store, name string) (*corev1.Pod, error) {
	obj, err := s.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Pod), nil
}
