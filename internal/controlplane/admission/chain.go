package admission

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	admissionmetrics "k8s.io/apiserver/pkg/admission/metrics"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	quotaconfig "k8s.io/apiserver/pkg/admission/plugin/resourcequota/apis/resourcequota"
	webhookinit "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/compatibility"

	"github.com/gitopsd/gitopsd/internal/controlplane/quota"
)

// Objects reads what decisions depend on, straight from storage: a cache would be late exactly when a namespace has just been made or is going away.
type Objects interface {
	Namespace(ctx context.Context, name string) (*corev1.Namespace, error)
	ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
}

// Config is what the plugins read and whom they ask.
type Config struct {
	Objects      Objects
	Applications Applications
	// Where is for Applications that deny drift.
	Where      Where
	Informers  informers.SharedInformerFactory
	Client     kubernetes.Interface
	Dynamic    dynamic.Interface
	Mapper     meta.RESTMapper
	Authorizer authorizer.Authorizer
	Version    compatibility.EffectiveVersion
	// Services and Authentication are how webhooks are called.
	Services       webhook.ServiceResolver
	Authentication webhook.AuthenticationInfoResolverWrapper
	// Drained ends the background work of the plugins.
	Drained <-chan struct{}
}

// quotaWorkers weigh requests against quotas side by side, one namespace at a time each.
const quotaWorkers = 10

// reviews are questions about requests: policies and webhooks do not judge them.
var reviews = []schema.GroupResource{
	{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"}, {Group: "authentication.k8s.io", Resource: "tokenreviews"},
	{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}, {Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"},
	{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"}, {Group: "authorization.k8s.io", Resource: "subjectaccessreviews"},
}

// named is a plugin with the name that metrics and clients know it by.
type named struct {
	name   string
	plugin admission.Interface
}

// Chain is the order in which requests are judged, which is Kubernetes' own: first whether the object can be there at all, then what is filled in, then users'
// policies and webhooks, and quota last, so that nothing is counted that is refused after all.
func Chain(c Config) (admission.Interface, error) {
	security, err := podSecurity(c.Informers, c.Client)
	if err != nil {
		return nil, err
	}
	library, err := c.library()
	if err != nil {
		return nil, err
	}
	var chain []admission.Interface
	for _, n := range append([]named{
		{"NamespaceLifecycle", &namespaceLifecycle{Handler: admission.NewHandler(admission.Create, admission.Delete), objects: c.Objects}},
		{"LimitRanger", limits(c.Informers)},
		{"ServiceAccount", serviceAccount(c.Objects)},
		{"NodeRestriction", &nodeRestriction{Handler: admission.NewHandler(admission.Create, admission.Update, admission.Delete), client: c.Client}},
		{"TaintNodesByCondition", taintNewNodes()},
		{"PodSecurity", security},
		{"Priority", priority(c.Informers)},
		{"DefaultTolerationSeconds", defaultTolerations()},
		{"DefaultStorageClass", defaultStorageClass(c.Informers)},
		{"StorageObjectInUseProtection", storageInUse()},
		{"PersistentVolumeClaimResize", claimResize(c.Informers)},
		{"RuntimeClass", runtimeClass(c.Informers, c.Client)},
		{"CertificateApproval", approval(c.Authorizer)},
		{"CertificateSigning", signing(c.Authorizer)},
		{"ClusterTrustBundleAttest", attesting(c.Authorizer)},
		{"CertificateSubjectRestriction", mastersRequest()},
		{"DefaultIngressClass", defaultIngressClass(c.Informers)},
		{"PodTopologyLabels", topologyLabels(c.Informers)},
		{"PodResizeValidator", resizeFits(c.Informers)},
		{"ApplicationRights", applicationRights(c.Authorizer, c.Applications)},
		{"ChangesNoted", changesNoted()},
		{"DriftDenial", denyDrift(c)},
	}, library...) {
		chain = append(chain, admissionmetrics.WithControllerMetrics(n.plugin, n.name))
	}
	return admissionmetrics.WithStepMetrics(admission.NewChainHandler(chain...)), nil
}

// library makes the plugins that k8s.io/apiserver brings.
func (c Config) library() ([]named, error) {
	mutatingPolicies, err1 := mutatingpolicy.NewPlugin(nil)
	mutatingWebhooks, err2 := newMutatingWebhooks(c.Informers)
	validatingPolicies, err3 := validatingpolicy.NewPlugin(nil)
	validatingWebhooks, err4 := validatingwebhook.NewValidatingAdmissionWebhook(nil)
	quotas, err5 := resourcequota.NewResourceQuota(&quotaconfig.Configuration{}, quotaWorkers)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, fmt.Errorf("admission plugins: %w", err)
	}
	all := []named{
		{mutatingpolicy.PluginName, mutatingPolicies},
		{mutatingwebhook.PluginName, mutatingWebhooks},
		{validatingpolicy.PluginName, validatingPolicies},
		{validatingwebhook.PluginName, validatingWebhooks},
		{resourcequota.PluginName, quotas},
	}
	generic := initializer.New(c.Client, c.Dynamic, c.Informers, c.Authorizer, utilfeature.DefaultFeatureGate, c.Version, c.Drained, c.Mapper)
	webhooks := webhookinit.NewPluginInitializer(c.Authentication, c.Services)
	for _, n := range all {
		generic.Initialize(n.plugin)
		webhooks.Initialize(n.plugin)
		if n.plugin == admission.Interface(quotas) {
			// It starts its workers with the configuration, and they end with the channel that was set just before.
			quotas.SetQuotaConfiguration(quota.Configuration(quota.Lists{}))
		}
		if w, ok := n.plugin.(initializer.WantsExcludedAdmissionResources); ok {
			w.SetExcludedAdmissionResources(reviews)
		}
		if v, ok := n.plugin.(admission.InitializationValidator); ok {
			if err := v.ValidateInitialization(); err != nil {
				return nil, fmt.Errorf("admission plugin %s: %w", n.name, err)
			}
		}
	}
	return all, nil
}
