package openapi

import (
	"maps"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	aggregator "k8s.io/kube-aggregator/pkg/generated/openapi"
	"k8s.io/kube-openapi/pkg/common"
)

// Definitions are those of every kind that the chain of API servers serves: the generated ones of this package, and what the libraries of
// CustomResourceDefinitions and APIServices bring along.
func Definitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	all := GetOpenAPIDefinitions(ref)
	maps.Copy(all, apiextensions.GetOpenAPIDefinitions(ref))
	maps.Copy(all, aggregator.GetOpenAPIDefinitions(ref))
	return all
}
