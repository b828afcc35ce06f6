package registry

import (
	"context"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

func coreGroup(d Deps, r *Registry) group {
	return group{
		gv: corev1.SchemeGroupVersion,
		entries: []entry{
			namespaces,
			nodes(d),
			pods(d, r),
			services(d),
			configMaps,
			secrets,
			serviceAccounts(d, r),
			events,
			endpoints,
			replicationControllers,
			podTemplates,
			limitRanges,
			resourceQuotas,
			persistentVolumes,
			persistentVolumeClaims,
		},
		more: map[string]rest.Storage{"componentstatuses": newComponentStatuses(d.Storage)},
	}
}

func nodes(d Deps) Kind[*corev1.Node] {
	return Kind[*corev1.Node]{
		Resource: "nodes", Singular: "node", ShortNames: []string{"no"}, ClusterScoped: true,
		New: func() *corev1.Node { return &corev1.Node{} }, NewList: func() runtime.Object { return &corev1.NodeList{} },
		Columns:   columns.Node,
		HasStatus: true, StatusAlone: true, KeepStatusOnCreate: true, MetadataWithStatus: true,
		Validate: validation.Node, ValidateUpdate: validation.NodeUpdate, ValidateStatus: validation.NodeStatusUpdate,
		Fields: func(n *corev1.Node) fields.Set {
			return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
		},
		Wrap: func(r *resource) (rest.Storage, error) { return newNodesREST(r, d.Storage) },
	}
}

var configMaps = Kind[*corev1.ConfigMap]{
	Resource: "configmaps", Singular: "configmap", ShortNames: []string{"cm"},
	New: func() *corev1.ConfigMap { return &corev1.ConfigMap{} }, NewList: func() runtime.Object { return &corev1.ConfigMapList{} },
	Columns:  columns.ConfigMap,
	Validate: validation.ConfigMap, ValidateUpdate: validation.ConfigMapUpdate,
}

var secrets = Kind[*corev1.Secret]{
	Resource: "secrets", Singular: "secret",
	New: func() *corev1.Secret { return &corev1.Secret{} }, NewList: func() runtime.Object { return &corev1.SecretList{} },
	Columns: columns.Secret,
	PrepareCreate: func(_ context.Context, s *corev1.Secret) {
		mergeStringData(s)
	},
	PrepareUpdate: func(_ context.Context, s, _ *corev1.Secret) {
		mergeStringData(s)
	},
	Validate: validation.Secret, ValidateUpdate: validation.SecretUpdate,
	Fields: func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} },
}

// mergeStringData moves the write-only stringData into data, which it overrides.
func mergeStringData(s *corev1.Secret) {
	if len(s.StringData) == 0 {
		s.StringData = nil
		return
	}
	data := make(map[string][]byte, len(s.Data)+len(s.StringData))
	for k, v := range s.Data {
		data[k] = v
	}
	for k, v := range s.StringData {
		data[k] = []byte(v)
	}
	s.Data, s.StringData = data, nil
}

func serviceAccounts(d Deps, r *Registry) entry {
	return Kind[*corev1.ServiceAccount]{
		Resource: "serviceaccounts", Singular: "serviceaccount", ShortNames: []string{"sa"},
		New: func() *corev1.ServiceAccount { return &corev1.ServiceAccount{} }, NewList: func() runtime.Object { return &corev1.ServiceAccountList{} },
		Columns:  columns.ServiceAccount,
		Validate: validation.ServiceAccount, ValidateUpdate: validation.ServiceAccountUpdate,
		More: func(s *genericregistry.Store) map[string]rest.Storage {
			return map[string]rest.Storage{"token": &tokenREST{accounts: s, registry: r, issuer: d.Tokens}}
		},
	}
}
