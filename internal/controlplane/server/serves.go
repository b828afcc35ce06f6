package server

import (
	"context"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/gitopsd/gitopsd/internal/ingress/translate"
)

// Serves implements auth.NodeGraph. Like Uses it reads the watch cache, from which nodes learn of Ingresses.
func (o objects) Serves(ctx context.Context, namespace, secret string) bool {
	cached := &metainternalversion.ListOptions{ResourceVersion: "0"}
	list, err := o.registry.Store(networkingv1.Resource("ingresses")).List(genericapirequest.WithNamespace(ctx, namespace), cached)
	if err != nil {
		return false
	}
	of, err := o.registry.Store(networkingv1.Resource("ingressclasses")).List(genericapirequest.WithNamespace(ctx, ""), cached)
	if err != nil {
		return false
	}
	var classes translate.Classes
	for i := range of.(*networkingv1.IngressClassList).Items {
		classes = append(classes, &of.(*networkingv1.IngressClassList).Items[i])
	}
	return slices.ContainsFunc(list.(*networkingv1.IngressList).Items, func(i networkingv1.Ingress) bool {
		return slices.Contains(translate.Secrets(&i), secret) && classes.Ours(&i)
	})
}
