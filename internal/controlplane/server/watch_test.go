package server_test

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// nameWatch watches one object.
type nameWatch struct {
	name  string
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func byName(name string, w func(context.Context, metav1.ListOptions) (watch.Interface, error)) nameWatch {
	return nameWatch{name, w}
}

// WatchWithContext implements cache.WatcherWithContext.
func (n nameWatch) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.FieldSelector = "metadata.name=" + n.name
	return n.watch(ctx, o)
}
