package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// Objects reads what decisions depend on, straight from storage: a cache would be late exactly when a namespace has just been made or is going away.
type Objects interface {
	Namespace(ctx context.Context, name string) (*corev1.Namespace, error)
}

// Chain is the order in which requests are judged: first whether the object can be there at all, then what is filled in, then who may do it.
func Chain(objects Objects) admission.Interface {
	return admission.NewChainHandler(
		&namespaceLifecycle{Handler: admission.NewHandler(admission.Create, admission.Delete), objects: objects},
		&podDefaults{Handler: admission.NewHandler(admission.Create, admission.Update)},
		&nodeRestriction{Handler: admission.NewHandler(admission.Create, admission.Update, admission.Delete)},
	)
}
