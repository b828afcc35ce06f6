package defaults

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// SetApplication completes an Application: it follows the branch main, looks every minute, prunes, reverts drift, and leaves a
// commit in place that does not become healthy within five minutes.
func SetApplication(obj *v1alpha1.Application) {
	spec := &obj.Spec
	if spec.Source.Ref == (v1alpha1.Ref{}) && spec.Source.RepoURL != "" {
		spec.Source.Ref.Branch = "main"
	}
	setIfNil(&spec.Interval, metav1.Duration{Duration: time.Minute})
	setIfZero(&spec.TargetNamespace, metav1.NamespaceDefault)
	setIfNil(&spec.Prune, true)
	setIfZero(&spec.Drift, v1alpha1.DriftRevert)
	setIfNil(&spec.HealthTimeout, metav1.Duration{Duration: 5 * time.Minute})
	setIfZero(&spec.OnFailure, v1alpha1.FailureHold)
}
