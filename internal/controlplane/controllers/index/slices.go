package index

import (
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

const byService = "service"

// AddSlices indexes EndpointSlices by the Service that they belong to.
func AddSlices(slices cache.SharedIndexInformer) {
	add(slices, byService, SliceKeys)
}

// SliceKeys is the index function of AddSlices.
func SliceKeys(obj any) ([]string, error) {
	s, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil, fmt.Errorf("index %s: got %T, want an EndpointSlice", byService, obj)
	}
	if name := s.Labels[discoveryv1.LabelServiceName]; name != "" {
		return []string{s.Namespace + "/" + name}, nil
	}
	return nil, nil
}

// SlicesOf returns the cached EndpointSlices of a Service.
func SlicesOf(ix cache.Indexer, namespace, service string) []*discoveryv1.EndpointSlice {
	return lookup[*discoveryv1.EndpointSlice](ix, byService, namespace+"/"+service)
}
