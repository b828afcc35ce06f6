package registry

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
)

// componentStatuses answers the question of the first version of the API, whether the control plane's parts are well, by asking them. Scheduler and
// controllers run in this process: that there is an answer is theirs; what can fail apart is etcd.
type componentStatuses struct {
	rest.TableConvertor
	probes map[string]func(context.Context) error
}

var (
	_ rest.Lister               = (*componentStatuses)(nil)
	_ rest.Getter               = (*componentStatuses)(nil)
	_ rest.Scoper               = (*componentStatuses)(nil)
	_ rest.SingularNameProvider = (*componentStatuses)(nil)
	_ rest.ShortNamesProvider   = (*componentStatuses)(nil)
)

func newComponentStatuses(s *Storage) *componentStatuses {
	return &componentStatuses{
		TableConvertor: tableConvertor[*corev1.ComponentStatus]{gr: corev1.Resource("componentstatuses"), table: columns.ComponentStatus},
		probes:         map[string]func(context.Context) error{"etcd-0": s.Healthy},
	}
}

func (*componentStatuses) New() runtime.Object { return &corev1.ComponentStatus{} }

func (*componentStatuses) NewList() runtime.Object { return &corev1.ComponentStatusList{} }

func (*componentStatuses) Destroy() {}

func (*componentStatuses) NamespaceScoped() bool { return false }

func (*componentStatuses) GetSingularName() string { return "componentstatus" }

func (*componentStatuses) ShortNames() []string { return []string{"cs"} }

func (c *componentStatuses) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	list := &corev1.ComponentStatusList{Items: []corev1.ComponentStatus{}}
	for name := range c.probes {
		status := c.probe(ctx, name)
		if options != nil && options.LabelSelector != nil && !options.LabelSelector.Empty() {
			continue // none has labels
		}
		list.Items = append(list.Items, *status)
	}
	return list, nil
}

func (c *componentStatuses) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	if c.probes[name] == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("componentstatuses"), name)
	}
	return c.probe(ctx, name), nil
}

func (c *componentStatuses) probe(ctx context.Context, name string) *corev1.ComponentStatus {
	condition := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if err := c.probes[name](ctx); errors.Is(err, context.DeadlineExceeded) {
		condition = corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionUnknown, Error: err.Error()}
	} else if err != nil {
		condition = corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionFalse, Error: err.Error()}
	}
	return &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Conditions: []corev1.ComponentCondition{condition}}
}
