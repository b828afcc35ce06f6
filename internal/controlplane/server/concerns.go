package server

import (
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// namesNode are the kinds of objects that name the node they are for.
var namesNode = map[string]schema.GroupResource{
	"persistentvolumes":      corev1.Resource("persistentvolumes"),
	"podcertificaterequests": certificatesv1.Resource("podcertificaterequests"),
	"volumeattachments":      storagev1.SchemeGroupVersion.WithResource("volumeattachments").GroupResource(),
	"resourceslices":         resourcev1.Resource("resourceslices"),
}

// Concerns implements auth.NodeGraph.
func (o objects) Concerns(ctx context.Context, node, resource, namespace, name string) bool {
	of, ok := namesNode[resource]
	if !ok {
		return false
	}
	obj, err := o.registry.Store(of).Get(genericapirequest.WithNamespace(ctx, namespace), name, &metav1.GetOptions{})
	if err != nil {
		return apierrors.IsNotFound(err)
	}
	return nodeOf(obj) == node
}

// nodeOf is the node that an object is for; empty for one that is for none.
func nodeOf(obj runtime.Object) string {
	switch o := obj.(type) {
	case *certificatesv1.PodCertificateRequest:
		return string(o.Spec.NodeName)
	case *corev1.PersistentVolume:
		if pv.IsLocal(o) {
			return o.Labels[pv.NodeLabel]
		}
	case *storagev1.VolumeAttachment:
		return o.Spec.NodeName
	case *resourcev1.ResourceSlice:
		if o.Spec.NodeName != nil {
			return *o.Spec.NodeName
		}
	}
	return ""
}
