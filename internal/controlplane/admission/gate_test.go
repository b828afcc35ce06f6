package admission

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// request is an attempt of alice's at GROUP/VERSION/RESOURCE[/SUBRESOURCE].
func request(op admission.Operation, path, namespace, name string, obj, old runtime.Object) admission.Attributes {
	parts := strings.Split(path, "/")
	sub := ""
	if len(parts) > 3 {
		sub = parts[3]
	}
	gvr := schema.GroupVersionResource{Group: parts[0], Version: parts[1], Resource: parts[2]}
	kind := map[string]string{"namespaces": "Namespace"}[parts[2]]
	return admission.NewAttributesRecord(obj, old, gvr.GroupVersion().WithKind(kind), namespace, name, gvr, sub, op, nil, false, &user.DefaultInfo{Name: "alice"})
}

// said is what a refusal says, or nothing.
func said(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

type fixed map[string]corev1.NamespacePhase

func (f fixed) Namespace(_ context.Context, name string) (*corev1.Namespace, error) {
	phase, ok := f[name]
	if !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("configmaps"), name)
	}
	return &corev1.Namespace{Status: corev1.NamespaceStatus{Phase: phase}}, nil
}

func (fixed) ServiceAccount(context.Context, string, string) (*corev1.ServiceAccount, error) {
	return nil, apierrors.NewNotFound(corev1.Resource("serviceaccounts"), "")
}

func TestNothingNewComesIntoANamespaceThatIsNotThereOrGoing(t *testing.T) {
	l := &namespaceLifecycle{Handler: admission.NewHandler(admission.Create, admission.Delete), objects: fixed{"shop": corev1.NamespaceActive, "old": corev1.NamespaceTerminating}}
	for name, test := range map[string]struct {
		op                    admission.Operation
		path, namespace, name string
		says                  string
		reason                string
	}{
		"into one that is there":               {op: admission.Create, path: "/v1/configmaps", namespace: "shop"},
		"into one that is not":                 {op: admission.Create, path: "/v1/configmaps", namespace: "no", says: `namespaces "no" not found`, reason: "NotFound"},
		"into one that is going":               {op: admission.Create, path: "/v1/configmaps", namespace: "old", name: "c", says: `configmaps "c" is forbidden: unable to create new content in namespace old because it is being terminated`, reason: "Forbidden"},
		"out of one that is going":             {op: admission.Delete, path: "/v1/configmaps", namespace: "old", name: "c"},
		"out of one that is not there":         {op: admission.Delete, path: "/v1/configmaps", namespace: "no", name: "c"},
		"what has no namespace":                {op: admission.Create, path: "/v1/nodes"},
		"a namespace":                          {op: admission.Create, path: "/v1/namespaces", name: "new"},
		"a question about one that is not":     {op: admission.Create, path: "authorization.k8s.io/v1/localsubjectaccessreviews", namespace: "no"},
		"a namespace goes":                     {op: admission.Delete, path: "/v1/namespaces", name: "shop"},
		"a namespace that the cluster needs":   {op: admission.Delete, path: "/v1/namespaces", name: "kube-system", says: `namespaces "kube-system" is forbidden: this namespace may not be deleted`, reason: "Forbidden"},
		"the default namespace":                {op: admission.Delete, path: "/v1/namespaces", name: "default", says: `namespaces "default" is forbidden: this namespace may not be deleted`, reason: "Forbidden"},
		"the namespace that everybody can see": {op: admission.Delete, path: "/v1/namespaces", name: "kube-public", says: `namespaces "kube-public" is forbidden: this namespace may not be deleted`, reason: "Forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			err := l.Admit(t.Context(), request(test.op, test.path, test.namespace, test.name, nil, nil), nil)
			if said(err) != test.says || err != nil && string(apierrors.ReasonForError(err)) != test.reason {
				t.Errorf("got %q (%s), want %q (%s)", said(err), apierrors.ReasonForError(err), test.says, test.reason)
			}
			if cause := apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause); cause != (test.namespace == "old" && test.op == admission.Create) {
				t.Errorf("says to clients that the namespace is going: %v", cause)
			}
		})
	}
}

func csr(t *testing.T, signer string, organizations ...string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "alice", Organization: organizations}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
		SignerName: signer, Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
	}}
}

func TestACertificateMakesNobodyAnAdministrator(t *testing.T) {
	const client = certificatesv1.KubeAPIServerClientSignerName
	broken := csr(t, client)
	broken.Spec.Request = []byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")
	nothing := csr(t, client)
	nothing.Spec.Request = nil
	for name, test := range map[string]struct {
		in   *certificatesv1.CertificateSigningRequest
		says string
	}{
		"a user":                      {csr(t, client, "dev"), ""},
		"an administrator":            {csr(t, client, "dev", "system:masters"), "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"},
		"another signer's":            {csr(t, "example.com/shop", "system:masters"), ""},
		"no request":                  {nothing, ""},
		"a request nobody can read":   {broken, "failed to parse CSR"},
		"the signer of nodes' client": {csr(t, certificatesv1.KubeAPIServerClientKubeletSignerName, "system:nodes"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := mastersRequest().Validate(t.Context(), request(admission.Create, "certificates.k8s.io/v1/certificatesigningrequests", "", "r", test.in, nil), nil)
			if (err != nil) != (test.says != "") || !strings.Contains(said(err), test.says) || err != nil && !apierrors.IsForbidden(err) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}

// rights are "VERB SIGNER", of which alice has some.
type rights []string

func (r rights) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetUser().GetName() != "alice" || a.GetAPIGroup() != "certificates.k8s.io" || a.GetResource() != "signers" {
		return authorizer.DecisionDeny, "", nil
	}
	for _, have := range r {
		if have == a.GetVerb()+" "+a.GetName() {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func TestWhoSpeaksForASignerNeedsTheRightTo(t *testing.T) {
	const shop = "example.com/shop"
	issued, failed := csr(t, shop), csr(t, shop)
	issued.Status.Certificate = []byte("x")
	failed.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateFailed}}
	noted := csr(t, shop)
	noted.Labels = map[string]string{"a": "b"}
	plain := csr(t, shop)
	noted.Spec.Request, issued.Spec.Request, failed.Spec.Request = plain.Spec.Request, plain.Spec.Request, plain.Spec.Request
	bundle := func(signer, certificates string, finalizers ...string) *certificatesv1.ClusterTrustBundle {
		b := &certificatesv1.ClusterTrustBundle{Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: certificates}}
		b.Finalizers = finalizers
		return b
	}
	const (
		requests = "certificates.k8s.io/v1/certificatesigningrequests"
		bundles  = "certificates.k8s.io/v1/clustertrustbundles"
		create   = admission.Create
		update   = admission.Update
	)
	for name, test := range map[string]struct {
		op       admission.Operation
		path     string
		obj, old runtime.Object
		verb     string // that it takes; empty: none
	}{
		"approval":                         {update, requests + "/approval", plain, plain, "approve"},
		"a certificate":                    {update, requests + "/status", issued, plain, "sign"},
		"a failure":                        {update, requests + "/status", failed, plain, "sign"},
		"a status that says nothing new":   {update, requests + "/status", noted, plain, ""},
		"a change of the request":          {update, requests, noted, plain, ""},
		"a bundle":                         {create, bundles, bundle(shop, "x"), nil, "attest"},
		"a bundle that changes":            {update, bundles, bundle(shop, "y"), bundle(shop, "x"), "attest"},
		"a bundle of no signer":            {create, bundles, bundle("", "x"), nil, ""},
		"a bundle that stays as it was":    {update, bundles, bundle(shop, "x"), bundle(shop, "x"), ""},
		"a bundle that is on its way away": {update, bundles, bundle(shop, "x"), bundle(shop, "x", "foregroundDeletion"), ""},
	} {
		for holder, test2 := range map[string]struct {
			have rights
			ok   bool
		}{
			"with the right":                        {rights{test.verb + " " + shop}, true},
			"with the right for the whole domain":   {rights{test.verb + " example.com/*"}, true},
			"without it":                            {nil, false},
			"with the right for another of it":      {rights{test.verb + " example.com/bank"}, false},
			"with the right for another domain":     {rights{test.verb + " example.org/*"}, false},
			"with another right for the signer":     {rights{"list " + shop}, false},
			"with a right for everything by a name": {rights{test.verb + " *"}, false},
		} {
			t.Run(name+" "+holder, func(t *testing.T) {
				var err error
				for _, r := range []*rule{approval(authority{test2.have}), signing(authority{test2.have}), attesting(authority{test2.have})} {
					if r.Handles(test.op) && err == nil {
						err = r.Validate(t.Context(), request(test.op, test.path, "", "x", test.obj, test.old), nil)
					}
				}
				if want := test2.ok || test.verb == ""; (err == nil) != want {
					t.Errorf("got %v, want allowed=%v", err, want)
				}
				if err != nil && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "user not permitted to "+test.verb) || !strings.Contains(err.Error(), shop)) {
					t.Errorf("%v does not name verb and signer", err)
				}
			})
		}
	}
}

// authority makes an authorizer of rights.
type authority struct{ rights }

func (z authority) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(z.Authorize(ctx, a))
}

func (authority) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}
