package deployment

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/rand"
)

// templateHash names a Pod template in few characters. It is taken over the JSON form, which leaves out empty fields: a field that a later
// version of the API adds does not change the hash of templates that do not use it, so Pods are found again after an upgrade.
// collisions tells two templates of one Deployment with the same hash apart.
func templateHash(t *corev1.PodTemplateSpec, collisions *int32) string {
	b, err := json.Marshal(t)
	if err != nil {
		panic(fmt.Sprintf("encoding a Pod template that came from the API server: %v", err))
	}
	h := fnv.New32a()
	h.Write(b)
	if collisions != nil {
		h.Write(binary.LittleEndian.AppendUint32(nil, uint32(*collisions)))
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// sameTemplate compares a Deployment's template with a ReplicaSet's, which holds the hash as one more label.
func sameTemplate(d, rs *corev1.PodTemplateSpec) bool {
	a, b := *d, *rs
	a.Labels, b.Labels = withoutHash(a.Labels), withoutHash(b.Labels)
	return apiequality.Semantic.DeepEqual(a, b)
}

func withoutHash(labels map[string]string) map[string]string {
	out := maps.Clone(labels)
	delete(out, appsv1.DefaultDeploymentUniqueLabelKey)
	return out
}
