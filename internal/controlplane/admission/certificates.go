package admission

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

var requestResource = []schema.GroupResource{certificatesv1.Resource("certificatesigningrequests")}

// mastersRequest refuses to have a certificate made of the group that no role limits: whoever may approve requests would be an administrator by it.
func mastersRequest() *rule {
	return rule{of: requestResource, validate: func(_ context.Context, a admission.Attributes) error {
		csr, ok := object[*certificatesv1.CertificateSigningRequest](a)
		if !ok || csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
			return nil
		}
		block, _ := pem.Decode(csr.Spec.Request)
		if block == nil {
			return nil // validation refuses it with its own words
		}
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			return fmt.Errorf("failed to parse CSR: %w", err)
		}
		if slices.Contains(request.Subject.Organization, user.SystemPrivilegedGroup) {
			return fmt.Errorf("use of %s signer with %s group is not allowed", certificatesv1.KubeAPIServerClientSignerName, user.SystemPrivilegedGroup)
		}
		return nil
	}}.on(nil, admission.Create)
}

// approval asks for the right to approve requests to that very signer, beyond that to change requests.
func approval(authz authorizer.Authorizer) *rule {
	return rule{of: requestResource, validate: func(ctx context.Context, a admission.Attributes) error {
		csr, old := requests(a, "approval")
		if csr == nil || old == nil {
			return nil
		}
		return mayUseSigner(ctx, authz, a, "approve", csr.Spec.SignerName)
	}}.on(nil, admission.Update)
}

// signing asks for the right to sign for that signer when a certificate is issued or the request is said to have failed.
func signing(authz authorizer.Authorizer) *rule {
	return rule{of: requestResource, validate: func(ctx context.Context, a admission.Attributes) error {
		csr, old := requests(a, "status")
		if csr == nil || old == nil || equality.Semantic.DeepEqual(csr.Status.Certificate, old.Status.Certificate) && equality.Semantic.DeepEqual(csr.Status.Conditions, old.Status.Conditions) {
			return nil
		}
		return mayUseSigner(ctx, authz, a, "sign", csr.Spec.SignerName)
	}}.on(nil, admission.Update)
}

// attesting asks for the right to speak for a signer of whoever publishes the certificates to verify it by.
func attesting(authz authorizer.Authorizer) *rule {
	return rule{of: []schema.GroupResource{certificatesv1.Resource("clustertrustbundles")}, validate: func(ctx context.Context, a admission.Attributes) error {
		bundle, ok := object[*certificatesv1.ClusterTrustBundle](a)
		if !ok || bundle.Spec.SignerName == "" {
			return nil
		}
		// Whoever only takes the object away, as the garbage collector does, or writes it as it was, says nothing about the signer.
		if old := oldObject[*certificatesv1.ClusterTrustBundle](a); old != nil && sameButForItsEnd(bundle, old) {
			return nil
		}
		if mayUseSigner(ctx, authz, a, "attest", bundle.Spec.SignerName) != nil {
			return fmt.Errorf("user not permitted to attest for signerName %q", bundle.Spec.SignerName)
		}
		return nil
	}}.on(nil, admission.Create, admission.Update)
}

// sameButForItsEnd tells whether an update changes nothing but who owns the object and what holds up its deletion.
func sameButForItsEnd(bundle, old *certificatesv1.ClusterTrustBundle) bool {
	bundle, old = bundle.DeepCopy(), old.DeepCopy()
	for _, b := range []*certificatesv1.ClusterTrustBundle{bundle, old} {
		b.OwnerReferences, b.Finalizers, b.ManagedFields = nil, nil, nil
	}
	return equality.Semantic.DeepEqual(bundle, old)
}

func requests(a admission.Attributes, subresource string) (csr, old *certificatesv1.CertificateSigningRequest) {
	if a.GetSubresource() != subresource {
		return nil, nil
	}
	csr, _ = a.GetObject().(*certificatesv1.CertificateSigningRequest)
	return csr, oldObject[*certificatesv1.CertificateSigningRequest](a)
}

// mayUseSigner looks for the verb on the signer, or on all signers of its domain ("example.com/*").
func mayUseSigner(ctx context.Context, authz authorizer.Authorizer, a admission.Attributes, verb, signer string) error {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, err := authz.Authorize(ctx, authorizer.AttributesRecord{
			User: a.GetUserInfo(), Verb: verb, Name: name, APIGroup: certificatesv1.GroupName, APIVersion: "*", Resource: "signers", ResourceRequest: true,
		})
		if err == nil && decision == authorizer.DecisionAllow {
			return nil
		}
	}
	return fmt.Errorf("user not permitted to %s requests with signerName %q", verb, signer)
}
