package resourceclaim

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// claimAnnotation tells which of a Pod's spec.resourceClaims a claim was made for; upstream's controller writes it too.
const claimAnnotation = "resource.kubernetes.io/pod-claim-name"

// Wanted is what a Pod lacks.
type Wanted struct {
	Create []*resourcev1.ResourceClaim
	// Missing are the names of templates that are not there.
	Missing []string
	// Status is what the Pod's status.resourceClaimStatuses are to be; nil to leave them.
	Status []corev1.PodResourceClaimStatus
}

// ForPod says which claims are to be made for a Pod, and what its status is to say. template gives a template of the Pod's namespace, or nil; owned are the claims that the Pod controls.
func ForPod(pod *corev1.Pod, template func(name string) *resourcev1.ResourceClaimTemplate, owned []*resourcev1.ResourceClaim) Wanted {
	var w Wanted
	if podstate.Terminating(pod) || podstate.Finished(pod) {
		return w
	}
	status := slices.Clone(pod.Status.ResourceClaimStatuses)
	for i := range pod.Spec.ResourceClaims {
		c := &pod.Spec.ResourceClaims[i]
		if c.ResourceClaimTemplateName == nil || slices.ContainsFunc(status, func(s corev1.PodResourceClaimStatus) bool { return s.Name == c.Name }) {
			continue
		}
		made := slices.IndexFunc(owned, func(o *resourcev1.ResourceClaim) bool {
			return o.Annotations[claimAnnotation] == c.Name && o.DeletionTimestamp == nil
		})
		if made >= 0 {
			status = append(status, corev1.PodResourceClaimStatus{Name: c.Name, ResourceClaimName: ptr.To(owned[made].Name)})
			continue
		}
		t := template(*c.ResourceClaimTemplateName)
		if t == nil {
			w.Missing = append(w.Missing, *c.ResourceClaimTemplateName)
			continue
		}
		w.Create = append(w.Create, claimFor(pod, c.Name, t))
	}
	if len(status) > len(pod.Status.ResourceClaimStatuses) {
		slices.SortFunc(status, func(a, b corev1.PodResourceClaimStatus) int { return strings.Compare(a.Name, b.Name) })
		w.Status = status
	}
	return w
}

// claimFor is what a template says for one Pod. The API server names it, after the Pod and its claim.
func claimFor(pod *corev1.Pod, name string, t *resourcev1.ResourceClaimTemplate) *resourcev1.ResourceClaim {
	annotations := maps.Clone(t.Spec.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[claimAnnotation] = name
	prefix := pod.Name + "-" + name
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, GenerateName: prefix[:min(len(prefix), maxPrefix)] + "-", Labels: t.Spec.Labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod"))},
		},
		Spec: *t.Spec.Spec.DeepCopy(),
	}
}

// maxPrefix leaves room for what the API server appends: names have 253 characters at most.
const maxPrefix = 240

// Change is what is to become of a claim.
type Change struct {
	Status     *resourcev1.ResourceClaimStatus // nil to leave it
	Finalizers []string                        // nil to leave them
	Delete     bool
}

// ForClaim says what is to become of a claim, by what became of the Pods that it is reserved for, and of the one that it was made for. ended says that a Pod needs no device any more: it is gone, or has
// ended, or another has its name.
func ForClaim(claim *resourcev1.ResourceClaim, ended func(name string, uid string) bool) Change {
	var c Change
	if ref := metav1.GetControllerOfNoCopy(claim); ref != nil && ref.Kind == "Pod" && ref.APIVersion == "v1" && claim.DeletionTimestamp == nil {
		c.Delete = ended(ref.Name, string(ref.UID))
	}
	left := slices.DeleteFunc(slices.Clone(claim.Status.ReservedFor), func(r resourcev1.ResourceClaimConsumerReference) bool {
		return r.APIGroup == "" && r.Resource == "pods" && ended(r.Name, string(r.UID))
	})
	unused := len(left) == 0 && claim.Status.Allocation != nil
	if len(left) != len(claim.Status.ReservedFor) || unused {
		next := claim.Status.DeepCopy()
		next.ReservedFor = left
		if len(left) == 0 {
			next.ReservedFor = nil
			next.Allocation, next.Devices = nil, nil
		}
		c.Status = next
	}
	// It keeps a claim from going while a node may have devices ready for it. The scheduler writes it before it writes what is allocated: it stays on a claim that is
	// about to be.
	if freed := c.Status != nil || claim.DeletionTimestamp != nil; freed && len(left) == 0 && slices.Contains(claim.Finalizers, resourcev1.Finalizer) {
		c.Finalizers = slices.DeleteFunc(slices.Clone(claim.Finalizers), func(f string) bool { return f == resourcev1.Finalizer })
		if c.Finalizers == nil {
			c.Finalizers = []string{}
		}
	}
	return c
}
