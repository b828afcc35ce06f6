package admission

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/pv"
)

const (
	claimProtection  = "kubernetes.io/pvc-protection"
	volumeProtection = "kubernetes.io/pv-protection"
)

// defaultStorageClass gives a claim that names no class the default one.
func defaultStorageClass(f informers.SharedInformerFactory) *rule {
	inf := f.Storage().V1().StorageClasses()
	return rule{of: []schema.GroupResource{corev1.Resource("persistentvolumeclaims")}, admit: func(_ context.Context, a admission.Attributes) error {
		claim, ok := object[*corev1.PersistentVolumeClaim](a)
		if !ok || claim.Spec.StorageClassName != nil {
			return nil
		}
		if _, named := claim.Annotations[corev1.BetaStorageClassAnnotation]; named {
			return nil
		}
		all, err := inf.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		if name := pv.DefaultClass(all); name != "" {
			claim.Spec.StorageClassName = &name
		}
		return nil
	}}.on([]cache.InformerSynced{inf.Informer().HasSynced}, admission.Create)
}

// defaultIngressClass gives an Ingress that names no class the default one.
func defaultIngressClass(f informers.SharedInformerFactory) *rule {
	inf := f.Networking().V1().IngressClasses()
	return rule{of: []schema.GroupResource{networkingv1.Resource("ingresses")}, admit: func(_ context.Context, a admission.Attributes) error {
		ingress, ok := object[*networkingv1.Ingress](a)
		// The annotation names a class in the way of before there were IngressClasses.
		if !ok || ingress.Spec.IngressClassName != nil || ingress.Annotations["kubernetes.io/ingress.class"] != "" {
			return nil
		}
		all, err := inf.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		if name := newestDefault(all); name != "" {
			ingress.Spec.IngressClassName = &name
		}
		return nil
	}}.on([]cache.InformerSynced{inf.Informer().HasSynced}, admission.Create)
}

// newestDefault is the name of the default among several that claim to be: the youngest, and among those of one age the first by name; empty
// when there is none.
func newestDefault(all []*networkingv1.IngressClass) string {
	defaults := slices.DeleteFunc(slices.Clone(all), func(c *networkingv1.IngressClass) bool {
		return c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "true"
	})
	if len(defaults) == 0 {
		return ""
	}
	return slices.MinFunc(defaults, func(a, b *networkingv1.IngressClass) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	}).Name
}

// storageInUse keeps claims and volumes until nobody uses them: a controller takes the finalizer away then.
func storageInUse() *rule {
	return rule{
		of: []schema.GroupResource{corev1.Resource("persistentvolumeclaims"), corev1.Resource("persistentvolumes")},
		admit: func(_ context.Context, a admission.Attributes) error {
			if claim, ok := object[*corev1.PersistentVolumeClaim](a); ok {
				protect(claim, claimProtection)
			}
			if volume, ok := object[*corev1.PersistentVolume](a); ok {
				protect(volume, volumeProtection)
			}
			return nil
		},
	}.on(nil, admission.Create)
}

func protect(obj metav1.Object, finalizer string) {
	if !slices.Contains(obj.GetFinalizers(), finalizer) {
		obj.SetFinalizers(append(obj.GetFinalizers(), finalizer))
	}
}

// claimResize lets a claim ask for more only where its class can grow volumes.
func claimResize(f informers.SharedInformerFactory) *rule {
	inf := f.Storage().V1().StorageClasses()
	return rule{of: []schema.GroupResource{corev1.Resource("persistentvolumeclaims")}, validate: func(_ context.Context, a admission.Attributes) error {
		claim, ok := object[*corev1.PersistentVolumeClaim](a)
		old := oldObject[*corev1.PersistentVolumeClaim](a)
		if !ok || old == nil {
			return nil
		}
		want, had := claim.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
		if want.Cmp(had) <= 0 {
			return nil
		}
		if old.Status.Phase != corev1.ClaimBound {
			return fmt.Errorf("only bound persistent volume claims can be expanded")
		}
		name := claim.Annotations[corev1.BetaStorageClassAnnotation]
		if name == "" && claim.Spec.StorageClassName != nil {
			name = *claim.Spec.StorageClassName
		}
		class, err := inf.Lister().Get(name)
		if name == "" || err != nil || class.AllowVolumeExpansion == nil || !*class.AllowVolumeExpansion {
			return fmt.Errorf("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
		}
		return nil
	}}.on([]cache.InformerSynced{inf.Informer().HasSynced}, admission.Update)
}
