package registry

import (
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

func storageGroup() group {
	return group{gv: storagev1.SchemeGroupVersion, entries: []entry{
		Kind[*storagev1.StorageClass]{
			Resource: "storageclasses", Singular: "storageclass", ShortNames: []string{"sc"}, ClusterScoped: true,
			New: func() *storagev1.StorageClass { return &storagev1.StorageClass{} }, NewList: func() runtime.Object { return &storagev1.StorageClassList{} },
			Columns:  columns.StorageClass,
			Validate: validation.StorageClass, ValidateUpdate: validation.StorageClassUpdate,
		},
		Kind[*storagev1.VolumeAttributesClass]{
			Resource: "volumeattributesclasses", Singular: "volumeattributesclass", ShortNames: []string{"vac"}, ClusterScoped: true,
			New: func() *storagev1.VolumeAttributesClass { return &storagev1.VolumeAttributesClass{} }, NewList: func() runtime.Object { return &storagev1.VolumeAttributesClassList{} },
			Columns:  columns.VolumeAttributesClass,
			Validate: validation.VolumeAttributesClass, ValidateUpdate: validation.VolumeAttributesClassUpdate,
		},
		Kind[*storagev1.VolumeAttachment]{
			Resource: "volumeattachments", Singular: "volumeattachment", ClusterScoped: true,
			New: func() *storagev1.VolumeAttachment { return &storagev1.VolumeAttachment{} }, NewList: func() runtime.Object { return &storagev1.VolumeAttachmentList{} },
			Columns:   columns.VolumeAttachment,
			HasStatus: true, Conditional: true,
			Validate: validation.VolumeAttachment, ValidateUpdate: validation.VolumeAttachmentUpdate, ValidateStatus: validation.VolumeAttachmentStatusUpdate,
		},
		Kind[*storagev1.CSINode]{
			Resource: "csinodes", Singular: "csinode", ClusterScoped: true,
			New: func() *storagev1.CSINode { return &storagev1.CSINode{} }, NewList: func() runtime.Object { return &storagev1.CSINodeList{} },
			Columns:     columns.CSINode,
			Conditional: true,
			Validate:    validation.CSINode, ValidateUpdate: validation.CSINodeUpdate,
		},
		Kind[*storagev1.CSIDriver]{
			Resource: "csidrivers", Singular: "csidriver", ClusterScoped: true,
			New: func() *storagev1.CSIDriver { return &storagev1.CSIDriver{} }, NewList: func() runtime.Object { return &storagev1.CSIDriverList{} },
			Columns:     columns.CSIDriver,
			Conditional: true,
			Validate:    validation.CSIDriver, ValidateUpdate: validation.CSIDriverUpdate,
		},
		Kind[*storagev1.CSIStorageCapacity]{
			Resource: "csistoragecapacities", Singular: "csistoragecapacity",
			New: func() *storagev1.CSIStorageCapacity { return &storagev1.CSIStorageCapacity{} }, NewList: func() runtime.Object { return &storagev1.CSIStorageCapacityList{} },
			Columns:     columns.CSIStorageCapacity,
			Conditional: true,
			Validate:    validation.CSIStorageCapacity, ValidateUpdate: validation.CSIStorageCapacityUpdate,
		},
	}}
}
