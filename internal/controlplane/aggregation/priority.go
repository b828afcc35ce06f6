package aggregation

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// priority places a group among the groups, and a version within its group, in discovery: clients take the first that has the resource they
// look for. Higher comes first.
type priority struct{ group, version int32 }

// customPriority is below every built-in group, so that no CustomResourceDefinition can take a built-in resource's short name over.
var customPriority = priority{1000, 100}

// groupPriorities are those of Kubernetes, on which the order of `kubectl api-resources` and the meaning of ambiguous names rest.
var groupPriorities = map[string]int32{
	"":                             18000,
	"apps":                         17800,
	"events.k8s.io":                17750,
	"authentication.k8s.io":        17700,
	"authorization.k8s.io":         17600,
	"autoscaling":                  17500,
	"batch":                        17400,
	"certificates.k8s.io":          17300,
	"networking.k8s.io":            17200,
	"policy":                       17100,
	"rbac.authorization.k8s.io":    17000,
	"storage.k8s.io":               16800,
	"apiextensions.k8s.io":         16700,
	"admissionregistration.k8s.io": 16700,
	"scheduling.k8s.io":            16600,
	"coordination.k8s.io":          16500,
	"node.k8s.io":                  16300,
	"discovery.k8s.io":             16200,
	"resource.k8s.io":              16200,
	"flowcontrol.apiserver.k8s.io": 16100,
	"storagemigration.k8s.io":      15800,
	"gitopsd.io":                   15000,
	// As where metrics-server is installed, whose APIService says so.
	"metrics.k8s.io": 100,
}

const (
	newest, stable, beta = 30, 15, 9
)

func priorityOf(gv schema.GroupVersion) priority {
	g, ok := groupPriorities[gv.Group]
	if !ok {
		return customPriority
	}
	switch {
	case gv.Group == "":
		return priority{g, 1}
	case strings.Contains(gv.Version, "alpha"), strings.Contains(gv.Version, "beta"):
		return priority{g, beta}
	case version.CompareKubeAwareVersionStrings(gv.Version, "v1") > 0:
		return priority{g, newest}
	}
	return priority{g, stable}
}
