package registry

import (
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

func discoveryGroup() group {
	return group{gv: discoveryv1.SchemeGroupVersion, entries: []entry{Kind[*discoveryv1.EndpointSlice]{
		Resource: "endpointslices", Singular: "endpointslice",
		New: func() *discoveryv1.EndpointSlice { return &discoveryv1.EndpointSlice{} }, NewList: func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
		Columns:       columns.EndpointSlice,
		HasGeneration: true, LabelsCount: true, // the published reconciler tells by the generation whether somebody else wrote the labels
		Validate: validation.EndpointSlice, ValidateUpdate: validation.EndpointSliceUpdate,
	}}}
}

func coordinationGroup() group {
	return group{gv: coordinationv1.SchemeGroupVersion, entries: []entry{Kind[*coordinationv1.Lease]{
		Resource: "leases", Singular: "lease",
		New: func() *coordinationv1.Lease { return &coordinationv1.Lease{} }, NewList: func() runtime.Object { return &coordinationv1.LeaseList{} },
		Columns:        columns.Lease,
		CreateOnUpdate: true,
		Validate:       validation.Lease, ValidateUpdate: validation.LeaseUpdate,
	}}}
}

func gitopsdGroup() group {
	return group{gv: v1alpha1.GroupVersion, entries: []entry{Kind[*v1alpha1.Application]{
		Resource: "applications", Singular: "application", ShortNames: []string{"app"}, Categories: []string{"gitopsd"},
		New: func() *v1alpha1.Application { return &v1alpha1.Application{} }, NewList: func() runtime.Object { return &v1alpha1.ApplicationList{} },
		Columns:   columns.Application,
		HasStatus: true, HasGeneration: true,
		Validate: validation.Application, ValidateUpdate: validation.ApplicationUpdate, ValidateStatus: validation.ApplicationStatusUpdate,
	}}}
}

func certificatesGroup() group {
	return group{gv: certificatesv1.SchemeGroupVersion, entries: []entry{clusterTrustBundles, podCertificateRequests, Kind[*certificatesv1.CertificateSigningRequest]{
		Resource: "certificatesigningrequests", Singular: "certificatesigningrequest", ShortNames: []string{"csr"}, ClusterScoped: true,
		New:       func() *certificatesv1.CertificateSigningRequest { return &certificatesv1.CertificateSigningRequest{} },
		NewList:   func() runtime.Object { return &certificatesv1.CertificateSigningRequestList{} },
		Columns:   columns.CertificateSigningRequest,
		HasStatus: true, MetadataWithStatus: true,
		PrepareCreate: func(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) {
			// Who asks is what the signer relies on: it is taken from the request, never from the object.
			csr.Spec.Username, csr.Spec.UID, csr.Spec.Groups, csr.Spec.Extra = "", "", nil, nil
			user, ok := genericapirequest.UserFrom(ctx)
			if !ok {
				return
			}
			csr.Spec.Username, csr.Spec.UID, csr.Spec.Groups = user.GetName(), user.GetUID(), user.GetGroups()
			for k, v := range user.GetExtra() {
				if csr.Spec.Extra == nil {
					csr.Spec.Extra = map[string]certificatesv1.ExtraValue{}
				}
				csr.Spec.Extra[k] = v
			}
		},
		PrepareUpdate: func(_ context.Context, csr, old *certificatesv1.CertificateSigningRequest) { csr.Spec = old.Spec },
		Validate:      validation.CertificateSigningRequest, ValidateUpdate: validation.CertificateSigningRequestUpdate, ValidateStatus: validation.CertificateSigningRequestStatusUpdate,
		Fields: func(csr *certificatesv1.CertificateSigningRequest) fields.Set {
			return fields.Set{"spec.signerName": csr.Spec.SignerName}
		},
		More: func(s *genericregistry.Store) map[string]rest.Storage {
			approval := *s
			approval.UpdateStrategy = approvalStrategy{s.UpdateStrategy}
			return map[string]rest.Storage{"approval": &subresource{store: &approval}}
		},
	}}}
}

// approvalStrategy lets the approval subresource change the conditions of a CertificateSigningRequest and nothing else.
type approvalStrategy struct{ rest.RESTUpdateStrategy }

func (approvalStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	csr, was := obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest)
	conditions := csr.Status.Conditions
	csr.Spec = was.Spec
	csr.Status = was.Status
	csr.Status.Conditions = conditions
}

func (approvalStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.CertificateSigningRequestApprovalUpdate(obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest))
}
