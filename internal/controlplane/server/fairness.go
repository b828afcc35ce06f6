package server

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	flowcontrolclient "k8s.io/client-go/kubernetes/typed/flowcontrol/v1"
)

// seldomTold knows that writes of Nodes do not become an event for each of those who watch all of them: these are nodes, which are told of little (registry/noderoutes.go). The library
// would have each heartbeat of a thousand nodes take seats for half a second for the sake of events that are never sent, and they would wait for each other in vain.
type seldomTold struct{ utilflowcontrol.Interface }

// GetInterestedWatchCount is how many watches hear of a write.
func (s seldomTold) GetInterestedWatchCount(r *apirequest.RequestInfo) int {
	if r.APIGroup == corev1.GroupName && r.Resource == "nodes" {
		return 0
	}
	return s.Interface.GetInterestedWatchCount(r)
}

// installFairness shares the server's capacity out by FlowSchemas and PriorityLevelConfigurations, so that one client that asks too much makes
// only itself wait, and makes those that Kubernetes names: without them every client would be in the lowest level.
func installFairness(c *genericapiserver.Config, client kubernetes.Interface, f informers.SharedInformerFactory) error {
	c.FlowControl = seldomTold{utilflowcontrol.New(f, client.FlowcontrolV1(), c.MaxRequestsInFlight+c.MaxMutatingRequestsInFlight)}
	const name = "priority-and-fairness-config-producer"
	return c.AddPostStartHook(name, untilDone(name, func(ctx context.Context) error {
		// Requests are shared out by the mandatory levels, which the library knows by itself, until these are there.
		return ensureFairness(ctx, client.FlowcontrolV1())
	}))
}

// ensureFairness creates the levels and schemas that are missing and sets back the mandatory ones. The suggested ones are the administrator's as soon as they exist.
func ensureFairness(ctx context.Context, client flowcontrolclient.FlowcontrolV1Interface) error {
	var errs []error
	for mandatory, levels := range map[bool][]*flowcontrolv1.PriorityLevelConfiguration{
		true: bootstrap.MandatoryPriorityLevelConfigurations, false: bootstrap.SuggestedPriorityLevelConfigurations,
	} {
		for _, want := range levels {
			errs = append(errs, ensure(ctx, client.PriorityLevelConfigurations(), want, mandatory, func(have *flowcontrolv1.PriorityLevelConfiguration) bool {
				same := equality.Semantic.DeepEqual(have.Spec, want.Spec)
				have.Spec = want.Spec
				return same
			}))
		}
	}
	for mandatory, schemas := range map[bool][]*flowcontrolv1.FlowSchema{
		true: bootstrap.MandatoryFlowSchemas, false: bootstrap.SuggestedFlowSchemas,
	} {
		for _, want := range schemas {
			errs = append(errs, ensure(ctx, client.FlowSchemas(), want, mandatory, func(have *flowcontrolv1.FlowSchema) bool {
				same := equality.Semantic.DeepEqual(have.Spec, want.Spec)
				have.Spec = want.Spec
				return same
			}))
		}
	}
	return errors.Join(errs...)
}

// readWriter is what the typed clients of both kinds can do.
type readWriter[T any] interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (T, error)
	Create(ctx context.Context, obj T, o metav1.CreateOptions) (T, error)
	Update(ctx context.Context, obj T, o metav1.UpdateOptions) (T, error)
}

// ensure makes want exist. Adopt gives a mandatory one that exists the wanted spec, and tells whether it had it already.
func ensure[T metav1.Object](ctx context.Context, client readWriter[T], want T, mandatory bool, adopt func(have T) (same bool)) error {
	have, err := client.Get(ctx, want.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		if _, err = client.Create(ctx, want, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
			err = nil
		}
	case err == nil && mandatory && !adopt(have):
		_, err = client.Update(ctx, have, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("%T %s: %w", want, want.GetName(), err)
	}
	return nil
}
