package validation

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Namespace says what may be created.
func Namespace(obj *corev1.Namespace) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsLabelName)
	for i, finalizer := range obj.Spec.Finalizers {
		errs = append(errs, namespaceFinalizer(specPath.Child("finalizers").Index(i), finalizer)...)
	}
	return errs
}

// namespaceFinalizer wants the one that the namespace controller answers, or a name with a domain.
func namespaceFinalizer(at *field.Path, finalizer corev1.FinalizerName) field.ErrorList {
	errs := qualifiedName(at, string(finalizer))
	if len(errs) == 0 && finalizer != corev1.FinalizerKubernetes && !slices.Contains([]byte(finalizer), '/') {
		errs = append(errs, field.Invalid(at, finalizer, "name is neither a standard finalizer name nor is it fully qualified"))
	}
	return errs
}

// NamespaceUpdate says what a Namespace may be replaced with. Its finalizers change through NamespaceFinalizeUpdate.
func NamespaceUpdate(obj, old *corev1.Namespace) field.ErrorList {
	return metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
}

// NamespaceFinalizeUpdate says what the finalize subresource may leave of spec.finalizers.
func NamespaceFinalizeUpdate(obj, old *corev1.Namespace) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	for i, finalizer := range obj.Spec.Finalizers {
		errs = append(errs, namespaceFinalizer(specPath.Child("finalizers").Index(i), finalizer)...)
	}
	return errs
}

// NamespaceStatusUpdate wants the phase to say whether the namespace is being deleted, and nothing else.
func NamespaceStatusUpdate(obj, old *corev1.Namespace) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	at := statusPath.Child("phase")
	if obj.DeletionTimestamp.IsZero() {
		if obj.Status.Phase != corev1.NamespaceActive {
			errs = append(errs, field.Invalid(at, obj.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty"))
		}
	} else if obj.Status.Phase != corev1.NamespaceTerminating {
		errs = append(errs, field.Invalid(at, obj.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"))
	}
	return errs
}

// ServiceAccount says what may be created.
func ServiceAccount(obj *corev1.ServiceAccount) field.ErrorList {
	return namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
}

// ServiceAccountUpdate says what a ServiceAccount may be replaced with.
func ServiceAccountUpdate(obj, old *corev1.ServiceAccount) field.ErrorList {
	return metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
}

// Node says what may be created, by a node for itself as a rule.
func Node(obj *corev1.Node) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, nodeContent(obj)...)
}

func nodeContent(obj *corev1.Node) field.ErrorList {
	errs := taints(specPath.Child("taints"), obj.Spec.Taints)
	errs = append(errs, podCIDRs(&obj.Spec)...)
	return append(errs, nodeResources(obj)...)
}

func taints(at *field.Path, list []corev1.Taint) field.ErrorList {
	type key struct {
		key    string
		effect corev1.TaintEffect
	}
	var errs field.ErrorList
	seen := map[key]bool{}
	for i, taint := range list {
		at := at.Index(i)
		errs = append(errs, metav1validation.ValidateLabelName(taint.Key, at.Child("key"))...)
		errs = append(errs, labelValue(at.Child("value"), taint.Value)...)
		errs = append(errs, taintEffect(at.Child("effect"), taint.Effect)...)
		if k := (key{taint.Key, taint.Effect}); seen[k] {
			duplicate := field.Duplicate(at, taint)
			duplicate.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, duplicate)
		} else {
			seen[k] = true
		}
	}
	return errs
}

func podCIDRs(spec *corev1.NodeSpec) field.ErrorList {
	if len(spec.PodCIDRs) == 0 {
		return nil
	}
	at := specPath.Child("podCIDRs")
	errs := cidrPerFamily(at, spec.PodCIDRs)
	if spec.PodCIDR != spec.PodCIDRs[0] {
		errs = append(errs, field.Invalid(at.Index(0), spec.PodCIDRs[0], "must be equal to `podCIDR`"))
	}
	return errs
}

func nodeResources(obj *corev1.Node) field.ErrorList {
	errs := resourceList(statusPath.Child("capacity"), obj.Status.Capacity, qualifiedResource)
	return append(errs, resourceList(statusPath.Child("allocatable"), obj.Status.Allocatable, qualifiedResource)...)
}

// NodeUpdate says what a Node may be replaced with. Where its Pods' addresses come from, and which machine it is, can be told
// once: what runs on it depends on both.
func NodeUpdate(obj, old *corev1.Node) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, nodeContent(obj)...)
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(obj.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(specPath.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	if old.Spec.ProviderID != "" && obj.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(specPath.Child("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	return append(errs, nodeAddresses(obj)...)
}

// NodeStatusUpdate says what a node may report of itself.
func NodeStatusUpdate(obj, old *corev1.Node) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, nodeResources(obj)...)
	return append(errs, nodeAddresses(obj)...)
}

func nodeAddresses(obj *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	for i, address := range obj.Status.Addresses {
		if slices.Contains(obj.Status.Addresses[:i], address) {
			errs = append(errs, field.Duplicate(statusPath.Child("addresses").Index(i), address))
		}
	}
	return errs
}

// maxDataSize limits what a ConfigMap or Secret holds, keys and values together: each node that uses one keeps it in memory.
const maxDataSize = corev1.MaxSecretSize

// ConfigMap says what may be created.
func ConfigMap(obj *corev1.ConfigMap) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, configMapData(obj)...)
}

func configMapData(obj *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	size := 0
	for _, key := range sortedKeys(obj.Data) {
		at := field.NewPath("data").Key(key)
		errs = append(errs, dataKey(at, key)...)
		if _, twice := obj.BinaryData[key]; twice {
			errs = append(errs, field.Invalid(at, key, "duplicate of key present in binaryData"))
		}
		size += len(key) + len(obj.Data[key])
	}
	for _, key := range sortedKeys(obj.BinaryData) {
		errs = append(errs, dataKey(field.NewPath("binaryData").Key(key), key)...)
		size += len(key) + len(obj.BinaryData[key])
	}
	if size > maxDataSize {
		errs = append(errs, field.TooLong(field.NewPath("data"), "", maxDataSize))
	}
	return errs
}

// ConfigMapUpdate says what a ConfigMap may be replaced with. Once immutable it stays so, with the data that it has.
func ConfigMapUpdate(obj, old *corev1.ConfigMap) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	if isTrue(old.Immutable) {
		errs = append(errs, staysImmutable(obj.Immutable)...)
		if !apiequality.Semantic.DeepEqual(obj.Data, old.Data) {
			errs = append(errs, field.Forbidden(field.NewPath("data"), immutableDetail))
		}
		if !apiequality.Semantic.DeepEqual(obj.BinaryData, old.BinaryData) {
			errs = append(errs, field.Forbidden(field.NewPath("binaryData"), immutableDetail))
		}
	}
	return append(errs, configMapData(obj)...)
}

const immutableDetail = "field is immutable when `immutable` is set"

func staysImmutable(immutable *bool) field.ErrorList {
	if isTrue(immutable) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("immutable"), immutableDetail)}
}
