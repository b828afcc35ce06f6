package health

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Status is a verdict in one word.
type Status string

// The verdicts, from best to worst as Worst orders them.
const (
	// Healthy: nothing is left to wait for.
	Healthy Status = "Healthy"
	// Progressing: on its way, and nothing says that it will not arrive.
	Progressing Status = "Progressing"
	// Unknown: the object could not be read.
	Unknown Status = "Unknown"
	// Degraded: somebody has to do something.
	Degraded Status = "Degraded"
)

var rank = map[Status]int{Healthy: 0, Progressing: 1, Unknown: 2, Degraded: 3}

// Worst returns the worse of two verdicts.
func Worst(a, b Status) Status {
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// Health is the verdict about one object.
type Health struct {
	Status Status
	// Message says what is being waited for or what is wrong; empty when healthy.
	Message string
}

var healthy = Health{Status: Healthy}

func progressing(format string, args ...any) Health {
	return Health{Progressing, fmt.Sprintf(format, args...)}
}

func degraded(format string, args ...any) Health {
	return Health{Degraded, fmt.Sprintf(format, args...)}
}

// kinds are those whose status says more than conditions do.
var kinds = map[schema.GroupKind]func(object) Health{
	{Group: "apps", Kind: "Deployment"}:                               deployment,
	{Group: "apps", Kind: "ReplicaSet"}:                               replicaSet,
	{Group: "apps", Kind: "StatefulSet"}:                              statefulSet,
	{Group: "apps", Kind: "DaemonSet"}:                                daemonSet,
	{Group: "", Kind: "ReplicationController"}:                        replicaSet,
	{Group: "", Kind: "Pod"}:                                          pod,
	{Group: "", Kind: "Service"}:                                      service,
	{Group: "", Kind: "PersistentVolumeClaim"}:                        claim,
	{Group: "", Kind: "Namespace"}:                                    namespace,
	{Group: "batch", Kind: "Job"}:                                     job,
	{Group: "networking.k8s.io", Kind: "Ingress"}:                     always,
	{Group: "policy", Kind: "PodDisruptionBudget"}:                    disruptionBudget,
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}:           autoscaler,
	{Group: "gitopsd.io", Kind: "Application"}:                        application,
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: definition,
}

// Of returns the verdict about an object.
func Of(u *unstructured.Unstructured) Health {
	o := object{u}
	if u.GetDeletionTimestamp() != nil {
		return progressing("it is being deleted")
	}
	if f, ok := kinds[u.GroupVersionKind().GroupKind()]; ok {
		return f(o)
	}
	return byConditions(o)
}

// always is for kinds that serve by being there, whatever their status says or leaves out.
func always(object) Health { return healthy }
