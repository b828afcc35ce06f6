package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics/legacyregistry"
	podsecurity "k8s.io/pod-security-admission/admission"
	"k8s.io/pod-security-admission/admission/api/load"
	podsecurityapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"
)

// securityMetrics are the process's: a registry takes them once.
var securityMetrics = sync.OnceValue(func() metrics.Recorder {
	r := metrics.NewPrometheusRecorder(podsecurityapi.GetAPIVersion())
	r.MustRegister(legacyregistry.MustRegister)
	return r
})

// podSecurity holds Pods to the Pod Security Standards that their namespace's labels name. Without labels everything is allowed.
func podSecurity(f informers.SharedInformerFactory, client kubernetes.Interface) (*rule, error) {
	config, err := load.LoadFromData(nil)
	if err != nil {
		return nil, fmt.Errorf("defaults of pod security: %w", err)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, fmt.Errorf("checks of pod security: %w", err)
	}
	namespaces, pods := f.Core().V1().Namespaces(), f.Core().V1().Pods()
	judge := &podsecurity.Admission{
		Configuration: config, Evaluator: evaluator, Metrics: securityMetrics(), PodSpecExtractor: podsecurity.DefaultPodSpecExtractor{},
		PodLister:       podsecurity.PodListerFromInformer(pods.Lister()),
		NamespaceGetter: podsecurity.NamespaceGetterFromListerAndClient(namespaces.Lister(), client),
	}
	if err := errors.Join(judge.CompleteConfiguration(), judge.ValidateConfiguration()); err != nil {
		return nil, fmt.Errorf("configuration of pod security: %w", err)
	}
	return rule{validate: func(ctx context.Context, a admission.Attributes) error {
		gr := a.GetResource().GroupResource()
		if gr != corev1.Resource("namespaces") && gr != corev1.Resource("pods") && !judge.PodSpecExtractor.HasPodSpec(gr) {
			return nil
		}
		return tell(ctx, a, judge.Validate(ctx, securityAttributes{a}))
	}}.on([]cache.InformerSynced{namespaces.Informer().HasSynced}, admission.Create, admission.Update), nil
}

// tell passes on the verdict: as warnings, in the audit log, and as the answer.
func tell(ctx context.Context, a admission.Attributes, r *admissionv1.AdmissionResponse) error {
	for _, w := range r.Warnings {
		warning.AddWarning(ctx, "", w)
	}
	for key, value := range r.AuditAnnotations {
		audit.AddAuditAnnotation(ctx, podsecurityapi.AuditAnnotationPrefix+key, value)
	}
	if r.Allowed {
		return nil
	}
	err := admission.NewForbidden(a, errors.New("not allowed by PodSecurity"))
	if status := (*apierrors.StatusError)(nil); r.Result != nil && errors.As(err, &status) {
		if r.Result.Message != "" {
			status.ErrStatus.Message = r.Result.Message
		}
		if r.Result.Reason != "" {
			status.ErrStatus.Reason = r.Result.Reason
		}
		if r.Result.Details != nil {
			status.ErrStatus.Details = r.Result.Details
		}
		if r.Result.Code != 0 {
			status.ErrStatus.Code = r.Result.Code
		}
	}
	return err
}

// securityAttributes are a request in the library's words.
type securityAttributes struct{ admission.Attributes }

var _ podsecurityapi.Attributes = securityAttributes{}

func (s securityAttributes) GetObject() (runtime.Object, error) { return s.Attributes.GetObject(), nil }

func (s securityAttributes) GetOldObject() (runtime.Object, error) {
	return s.Attributes.GetOldObject(), nil
}

func (s securityAttributes) GetOperation() admissionv1.Operation {
	return admissionv1.Operation(s.Attributes.GetOperation())
}

func (s securityAttributes) GetUserName() string { return s.GetUserInfo().GetName() }

func (s securityAttributes) GetResource() schema.GroupVersionResource {
	return s.Attributes.GetResource()
}
