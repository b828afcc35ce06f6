package quota

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apiserver/pkg/admission"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
)

func services(list generic.ListFuncByNamespace) quota.Evaluator {
	gr := corev1.Resource("services")
	count := generic.ObjectCountQuotaResourceNameFor(gr)
	return &measure[*corev1.Service]{
		resource: gr, list: list,
		names: func(n corev1.ResourceName) bool {
			return n == count || n == corev1.ResourceServices || n == corev1.ResourceServicesNodePorts || n == corev1.ResourceServicesLoadBalancers
		},
		usage: func(s *corev1.Service) corev1.ResourceList {
			balancers := 0
			if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
				balancers = 1
			}
			return corev1.ResourceList{
				count: one(), corev1.ResourceServices: one(),
				corev1.ResourceServicesNodePorts:     *resource.NewQuantity(int64(nodePorts(s)), resource.DecimalSI),
				corev1.ResourceServicesLoadBalancers: *resource.NewQuantity(int64(balancers), resource.DecimalSI),
			}
		},
		changes: func(a admission.Attributes, _, _ *corev1.Service) bool { return a.GetSubresource() == "" },
	}
}

// nodePorts is how many a Service will have: at admission they are not handed out yet.
func nodePorts(s *corev1.Service) int {
	switch {
	case s.Spec.Type == corev1.ServiceTypeNodePort:
		return len(s.Spec.Ports)
	case s.Spec.Type != corev1.ServiceTypeLoadBalancer:
		return 0
	case s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts:
		return len(s.Spec.Ports)
	}
	chosen := 0
	for i := range s.Spec.Ports {
		if s.Spec.Ports[i].NodePort != 0 {
			chosen++
		}
	}
	return chosen
}

// ofClass marks the resources of a quota that count the claims of one StorageClass: gold.storageclass.storage.k8s.io/requests.storage.
const ofClass = ".storageclass.storage.k8s.io/"

func claims(list generic.ListFuncByNamespace) quota.Evaluator {
	gr := corev1.Resource("persistentvolumeclaims")
	count := generic.ObjectCountQuotaResourceNameFor(gr)
	return &measure[*corev1.PersistentVolumeClaim]{
		resource: gr, list: list,
		names: func(n corev1.ResourceName) bool {
			_, name, classed := strings.Cut(string(n), ofClass)
			if !classed {
				name = string(n)
			}
			return n == count || name == string(corev1.ResourcePersistentVolumeClaims) || name == string(corev1.ResourceRequestsStorage)
		},
		usage: func(c *corev1.PersistentVolumeClaim) corev1.ResourceList {
			used := corev1.ResourceList{count: one(), corev1.ResourcePersistentVolumeClaims: one()}
			class := c.Annotations[corev1.BetaStorageClassAnnotation]
			if class == "" && c.Spec.StorageClassName != nil {
				class = *c.Spec.StorageClassName
			}
			prefix := corev1.ResourceName(class + ofClass)
			if class != "" {
				used[prefix+corev1.ResourcePersistentVolumeClaims] = one()
			}
			if size, ok := claimed(c); ok {
				used[corev1.ResourceRequestsStorage] = size
				if class != "" {
					used[prefix+corev1.ResourceRequestsStorage] = size
				}
			}
			return used
		},
		inScope: func(s corev1.ScopedResourceSelectorRequirement, c *corev1.PersistentVolumeClaim) (bool, error) {
			if s.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass {
				return false, nil
			}
			name := ""
			if c.Spec.VolumeAttributesClassName != nil {
				name = *c.Spec.VolumeAttributesClassName
			}
			return selects(s, name)
		},
		changes: func(a admission.Attributes, _, _ *corev1.PersistentVolumeClaim) bool { return a.GetSubresource() == "" },
	}
}

// claimed is the size that counts: a volume that is growing may already have taken more than is asked for now.
func claimed(c *corev1.PersistentVolumeClaim) (resource.Quantity, bool) {
	size, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if taken, has := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && has && taken.Cmp(size) > 0 {
		return taken, true
	}
	return size, ok
}
