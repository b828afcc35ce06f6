package registry

import (
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

func storageMigrationGroup() group {
	return group{gv: storagemigrationv1.SchemeGroupVersion, entries: []entry{Kind[*storagemigrationv1.StorageVersionMigration]{
		Resource: "storageversionmigrations", Singular: "storageversionmigration", ClusterScoped: true,
		New: func() *storagemigrationv1.StorageVersionMigration {
			return &storagemigrationv1.StorageVersionMigration{}
		}, NewList: func() runtime.Object { return &storagemigrationv1.StorageVersionMigrationList{} },
		Columns:   columns.StorageVersionMigration,
		HasStatus: true, Conditional: true,
		Validate: validation.StorageVersionMigration, ValidateUpdate: validation.StorageVersionMigrationUpdate, ValidateStatus: validation.StorageVersionMigrationStatusUpdate,
	}}}
}
