package registry

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

var persistentVolumes = Kind[*corev1.PersistentVolume]{
	Resource: "persistentvolumes", Singular: "persistentvolume", ShortNames: []string{"pv"}, ClusterScoped: true,
	New: func() *corev1.PersistentVolume { return &corev1.PersistentVolume{} }, NewList: func() runtime.Object { return &corev1.PersistentVolumeList{} },
	Columns:   columns.PersistentVolume,
	HasStatus: true, MetadataWithStatus: true,
	PrepareCreate: func(_ context.Context, v *corev1.PersistentVolume) {
		now := metav1.Now()
		v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: &now}
	},
	PrepareStatus: func(v, old *corev1.PersistentVolume) {
		if v.Status.Phase != old.Status.Phase && v.Status.LastPhaseTransitionTime.Equal(old.Status.LastPhaseTransitionTime) {
			now := metav1.Now()
			v.Status.LastPhaseTransitionTime = &now
		}
	},
	Validate: validation.PersistentVolume, ValidateUpdate: validation.PersistentVolumeUpdate, ValidateStatus: validation.PersistentVolumeStatusUpdate,
}

var persistentVolumeClaims = Kind[*corev1.PersistentVolumeClaim]{
	Resource: "persistentvolumeclaims", Singular: "persistentvolumeclaim", ShortNames: []string{"pvc"},
	New: func() *corev1.PersistentVolumeClaim { return &corev1.PersistentVolumeClaim{} }, NewList: func() runtime.Object { return &corev1.PersistentVolumeClaimList{} },
	Columns:   columns.PersistentVolumeClaim,
	HasStatus: true, StatusAlone: true, MetadataWithStatus: true,
	PrepareCreate: func(_ context.Context, c *corev1.PersistentVolumeClaim) {
		c.Status.Phase = corev1.ClaimPending
		mirrorDataSource(&c.Spec)
	},
	Validate: validation.PersistentVolumeClaim, ValidateUpdate: validation.PersistentVolumeClaimUpdate, ValidateStatus: validation.PersistentVolumeClaimStatusUpdate,
}

// mirrorDataSource sets the one of dataSource and dataSourceRef that was left out: they mean the same unless a namespace is named.
func mirrorDataSource(spec *corev1.PersistentVolumeClaimSpec) {
	source, ref := spec.DataSource, spec.DataSourceRef
	switch {
	case source != nil && ref == nil:
		spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: source.APIGroup, Kind: source.Kind, Name: source.Name}
	case source == nil && ref != nil && (ref.Namespace == nil || *ref.Namespace == ""):
		spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name}
	}
}
