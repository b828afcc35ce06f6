package controllerrevision

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/defaults"
)

// Owner is whose history it is, as it is now.
type Owner struct {
	Object   metav1.Object
	Kind     schema.GroupVersionKind
	Selector labels.Selector
	Template *corev1.PodTemplateSpec
	// HashLabel is the label of a revision that holds its hash: "controller-revision-hash" for DaemonSets, "controller.kubernetes.io/hash" for StatefulSets.
	HashLabel string
	// Collisions is status.collisionCount.
	Collisions *int32
	// Limit is spec.revisionHistoryLimit: how many revisions are kept that are not in use.
	Limit int32
}

func (o Owner) String() string {
	return fmt.Sprintf("the %s %s/%s", o.Kind.Kind, o.Object.GetNamespace(), o.Object.GetName())
}

// maxPrefix leaves room for the hash in a name of at most 253 characters.
const maxPrefix = 223

// Data is what a revision of a template holds: the strategic merge patch of the owner that brings the template back. Equal templates have equal bytes.
func Data(t *corev1.PodTemplateSpec) []byte {
	var fields map[string]any
	b := encode(t)
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		panic(fmt.Sprintf("reading a Pod template that was just written: %v", err))
	}
	fields["$patch"] = "replace"
	return encode(map[string]any{"spec": map[string]any{"template": fields}})
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encoding a Pod template that came from the API server: %v", err))
	}
	return b
}

// Template is the Pod template that a revision holds, completed with the defaults of this version of the API.
func Template(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var held struct {
		Spec struct {
			Template *corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(r.Data.Raw, &held); err != nil {
		return nil, fmt.Errorf("the ControllerRevision %s/%s: reading its data: %w", r.Namespace, r.Name, err)
	}
	if held.Spec.Template == nil {
		return nil, fmt.Errorf("the ControllerRevision %s/%s holds no Pod template at spec.template of its data; delete it if nothing runs by it", r.Namespace, r.Name)
	}
	completed := corev1.PodTemplate{Template: *held.Spec.Template}
	defaults.SetPodTemplate(&completed)
	return &completed.Template, nil
}

// Hash names data in few characters. Collisions tell apart two revisions of one owner with the same hash.
func Hash(data []byte, collisions int32) string {
	h := fnv.New32()
	h.Write(data)
	h.Write([]byte(strconv.FormatInt(int64(collisions), 10)))
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// newRevision is the next revision of the owner's template.
func newRevision(o Owner, data []byte, number int64, collisions int32) *appsv1.ControllerRevision {
	hash := Hash(data, collisions)
	prefix := o.Object.GetName()
	r := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       o.Object.GetNamespace(),
			Name:            prefix[:min(len(prefix), maxPrefix)] + "-" + hash,
			Labels:          maps.Clone(o.Template.Labels),
			Annotations:     maps.Clone(o.Object.GetAnnotations()), // kubernetes.io/change-cause among them, which `kubectl rollout history` shows
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(o.Object, o.Kind)},
		},
		Data:     runtime.RawExtension{Raw: data},
		Revision: number,
	}
	delete(r.Annotations, corev1.LastAppliedConfigAnnotation) // a whole manifest, which a revision has no use for
	metav1.SetMetaDataLabel(&r.ObjectMeta, o.HashLabel, hash)
	return r
}

// Sort puts the oldest first.
func Sort(revisions []*appsv1.ControllerRevision) {
	slices.SortFunc(revisions, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

// Step is how an owner's template gets its revision. One field is set.
type Step struct {
	// Found holds it, and is the newest.
	Found *appsv1.ControllerRevision
	// Return holds it and is an older one: the owner was rolled back. It gets Number.
	Return *appsv1.ControllerRevision
	// Number is for the revision to make, or to return to.
	Number int64
}

// Decide finds the template's revision among the owner's, which are sorted. Neither Found nor Return: it is to be made.
func Decide(t *corev1.PodTemplateSpec, own []*appsv1.ControllerRevision) Step {
	number := int64(1)
	if len(own) > 0 {
		number = own[len(own)-1].Revision + 1
	}
	data := Data(t)
	for i, r := range slices.Backward(own) {
		if !holds(r, data, t) {
			continue
		}
		if i == len(own)-1 {
			return Step{Found: r}
		}
		return Step{Return: r, Number: number}
	}
	return Step{Number: number}
}

// holds says that a revision is one of this template. One written by an earlier version of the API lacks the fields that have come since, and is the same
// where their defaults say so: Pods are not replaced because the control plane is.
func holds(r *appsv1.ControllerRevision, data []byte, t *corev1.PodTemplateSpec) bool {
	if bytes.Equal(r.Data.Raw, data) {
		return true
	}
	held, err := Template(r)
	return err == nil && apiequality.Semantic.DeepEqual(held, t)
}

// Excess are the revisions to delete: the oldest of those that are not in use, beyond limit. All are sorted.
func Excess(all []*appsv1.ControllerRevision, inUse sets.Set[string], limit int32) []*appsv1.ControllerRevision {
	idle := slices.DeleteFunc(slices.Clone(all), func(r *appsv1.ControllerRevision) bool { return inUse.Has(r.Name) })
	return idle[:max(0, len(idle)-int(max(0, limit)))]
}
