package aggregation

import (
	"context"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsinformers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	apiextensionslisters "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// localGroupVersions reads the groups and versions of a server from the paths that it lists: /api/v1 and /apis/GROUP/VERSION.
func localGroupVersions(paths []string) []schema.GroupVersion {
	var out []schema.GroupVersion
	for _, p := range paths {
		parts := strings.Split(strings.Trim(p, "/"), "/")
		switch {
		case len(parts) == 2 && parts[0] == "api":
			out = append(out, schema.GroupVersion{Version: parts[1]})
		case len(parts) == 3 && parts[0] == "apis":
			out = append(out, schema.GroupVersion{Group: parts[1], Version: parts[2]})
		}
	}
	return out
}

// localAPIService says that this process serves the group and version.
func localAPIService(gv schema.GroupVersion) *apiregistrationv1.APIService {
	p := priorityOf(gv)
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: apiServiceName(gv)},
		Spec:       apiregistrationv1.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: p.group, VersionPriority: p.version},
	}
}

func apiServiceName(gv schema.GroupVersion) string { return gv.Version + "." + gv.Group }

// served tells whether one of the definitions serves the group and version.
func served(definitions []*apiextensionsv1.CustomResourceDefinition, gv schema.GroupVersion) bool {
	for _, d := range definitions {
		if d.Spec.Group != gv.Group {
			continue
		}
		for _, v := range d.Spec.Versions {
			if v.Name == gv.Version && v.Served {
				return true
			}
		}
	}
	return false
}

// definitions keeps an APIService for every group and version that a CustomResourceDefinition serves. Its keys are groups as namespaces, versions
// as names.
type definitions struct {
	lister       apiextensionslisters.CustomResourceDefinitionLister
	synced       cache.InformerSynced
	registration autoregister.AutoAPIServiceRegistration
	loop         *reconcile.Loop
}

func newDefinitions(in apiextensionsinformers.CustomResourceDefinitionInformer, registration autoregister.AutoAPIServiceRegistration) *definitions {
	d := &definitions{lister: in.Lister(), registration: registration}
	d.loop = reconcile.New("crd-registration", d.reconcile)
	d.synced = reconcile.Listen(in.Informer(), d.loop.HandlerFor(func(obj any) []reconcile.Key {
		crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			return nil
		}
		return keysOf(crd)
	}))
	return d
}

func keysOf(crd *apiextensionsv1.CustomResourceDefinition) []reconcile.Key {
	var keys []reconcile.Key
	for _, v := range crd.Spec.Versions {
		keys = append(keys, reconcile.Key{Namespace: crd.Spec.Group, Name: v.Name})
	}
	return keys
}

// first registers all that is defined already; false when ctx ended before that was known.
func (d *definitions) first(ctx context.Context) bool {
	if !cache.WaitForCacheSync(ctx.Done(), d.synced) {
		return false
	}
	all, err := d.lister.List(labels.Everything())
	if err != nil {
		return false
	}
	for _, crd := range all {
		for _, k := range keysOf(crd) {
			d.sync(all, schema.GroupVersion{Group: k.Namespace, Version: k.Name})
		}
	}
	return true
}

func (d *definitions) reconcile(_ context.Context, key reconcile.Key) (reconcile.Result, error) {
	all, err := d.lister.List(labels.Everything())
	if err != nil {
		return reconcile.Result{}, err
	}
	d.sync(all, schema.GroupVersion{Group: key.Namespace, Version: key.Name})
	return reconcile.Result{}, nil
}

func (d *definitions) sync(all []*apiextensionsv1.CustomResourceDefinition, gv schema.GroupVersion) {
	if served(all, gv) {
		d.registration.AddAPIServiceToSync(localAPIService(gv))
	} else {
		d.registration.RemoveAPIServiceToSync(apiServiceName(gv))
	}
}
