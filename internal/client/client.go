package client

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Resource is the plural name under which the API serves Applications.
const Resource = "applications"

// Scheme knows the Application and the options of its requests.
var Scheme = newScheme()

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, metav1.Unversioned)
	if err := v1alpha1.AddToScheme(s); err != nil {
		panic(err) // two types under one name: the program is wrong
	}
	return s
}

// Applications is the client for the Applications of one namespace.
type Applications = *gentype.ClientWithList[*v1alpha1.Application, *v1alpha1.ApplicationList]

// Client makes clients for namespaces.
type Client struct{ rest rest.Interface }

// New makes a Client.
func New(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	config.APIPath = "/apis"
	config.GroupVersion = &v1alpha1.GroupVersion
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON // the kind has no protobuf form
	config.NegotiatedSerializer = serializer.NewCodecFactory(Scheme).WithoutConversion()
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	r, err := rest.RESTClientForConfigAndClient(config, h)
	if err != nil {
		return nil, err
	}
	return &Client{rest: r}, nil
}

// In returns the client for a namespace; empty means all of them, for lists and watches.
func (c *Client) In(namespace string) Applications {
	return gentype.NewClientWithList[*v1alpha1.Application, *v1alpha1.ApplicationList](
		Resource, c.rest, runtime.NewParameterCodec(Scheme), namespace,
		func() *v1alpha1.Application { return &v1alpha1.Application{} },
		func() *v1alpha1.ApplicationList { return &v1alpha1.ApplicationList{} },
	)
}

// Informer watches every Application.
func (c *Client) Informer(indexers cache.Indexers) cache.SharedIndexInformer {
	all := c.In(metav1.NamespaceAll)
	return cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return all.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return all.Watch(ctx, o)
		},
	}, &v1alpha1.Application{}, 0, indexers)
}
