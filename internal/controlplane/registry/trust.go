package registry

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

var clusterTrustBundles = Kind[*certificatesv1.ClusterTrustBundle]{
	Resource: "clustertrustbundles", Singular: "clustertrustbundle", ClusterScoped: true,
	New: func() *certificatesv1.ClusterTrustBundle { return &certificatesv1.ClusterTrustBundle{} }, NewList: func() runtime.Object { return &certificatesv1.ClusterTrustBundleList{} },
	Columns: columns.ClusterTrustBundle, Conditional: true,
	Validate: validation.ClusterTrustBundle, ValidateUpdate: validation.ClusterTrustBundleUpdate,
	Fields: func(b *certificatesv1.ClusterTrustBundle) fields.Set {
		return fields.Set{"spec.signerName": b.Spec.SignerName}
	},
}

var podCertificateRequests = Kind[*certificatesv1.PodCertificateRequest]{
	Resource: "podcertificaterequests", Singular: "podcertificaterequest",
	New: func() *certificatesv1.PodCertificateRequest { return &certificatesv1.PodCertificateRequest{} }, NewList: func() runtime.Object { return &certificatesv1.PodCertificateRequestList{} },
	Columns: columns.PodCertificateRequest, HasStatus: true, Conditional: true,
	Validate: validation.PodCertificateRequest, ValidateUpdate: validation.PodCertificateRequestUpdate, ValidateStatus: validation.PodCertificateRequestStatusUpdate,
	Fields: func(r *certificatesv1.PodCertificateRequest) fields.Set {
		return fields.Set{"spec.signerName": r.Spec.SignerName, "spec.podName": r.Spec.PodName, "spec.nodeName": string(r.Spec.NodeName)}
	},
}
