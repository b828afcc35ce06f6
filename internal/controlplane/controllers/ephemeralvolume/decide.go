package ephemeralvolume

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// Decide says which claims a Pod lacks, and which of their names somebody else has. claim gives a claim of the Pod's namespace, or nil.
func Decide(pod *corev1.Pod, claim func(name string) *corev1.PersistentVolumeClaim) (missing []*corev1.PersistentVolumeClaim, taken []string) {
	if podstate.Terminating(pod) || podstate.Finished(pod) {
		return nil, nil
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Ephemeral == nil || v.Ephemeral.VolumeClaimTemplate == nil {
			continue
		}
		want := claimFor(pod, v)
		switch have := claim(want.Name); {
		case have == nil:
			missing = append(missing, want)
		case !metav1.IsControlledBy(have, pod):
			taken = append(taken, fmt.Sprintf("PVC %s/%s was not created for pod %s/%s (pod is not owner): rename the Pod or its volume %s, or delete that claim",
				pod.Namespace, want.Name, pod.Namespace, pod.Name, v.Name))
		}
	}
	return missing, taken
}

func claimFor(pod *corev1.Pod, v *corev1.Volume) *corev1.PersistentVolumeClaim {
	t := v.Ephemeral.VolumeClaimTemplate
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name + "-" + v.Name, Labels: t.Labels, Annotations: t.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod"))},
		},
		Spec: *t.Spec.DeepCopy(),
	}
}

// usesEphemeral says whether a Pod has such volumes.
func usesEphemeral(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Ephemeral != nil {
			return true
		}
	}
	return false
}
