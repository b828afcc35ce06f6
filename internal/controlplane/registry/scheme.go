package registry

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/conversion"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/defaults"
)

var (
	// Scheme knows every served type, each under its version and again under the internal version of its group. The library's
	// handlers decode to the internal version; with one Go type behind both, that conversion only renames the kind.
	Scheme = runtime.NewScheme()
	// ExternalScheme is Scheme without the internal versions, for those who would otherwise take a type's internal name for its own.
	ExternalScheme = runtime.NewScheme()
	// Codecs encodes and decodes the types of Scheme as JSON, YAML, protobuf and CBOR. Unknown and duplicate fields are reported as
	// the request's fieldValidation asks.
	Codecs = serializer.NewCodecFactory(Scheme, serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf(),
		serializer.WithSerializer(cbor.NewSerializerInfo))
	// ParameterCodec decodes query parameters.
	ParameterCodec = runtime.NewParameterCodec(Scheme)
)

func init() {
	// The library has its own lists of what it serves: of watches, patches, custom resources and discovery. Clients that do not ask for CBOR never get it.
	utilruntime.Must(utilfeature.DefaultMutableFeatureGate.Set(string(features.CBORServingAndStorage) + "=true"))
	// The watch cache would keep its tree as it was at each of the last changes, for lists at an older version: 1.5 KB for each write of an object. Those lists, which
	// are the further pages of a list in pages, are read from etcd, which is in this process.
	utilruntime.Must(utilfeature.DefaultMutableFeatureGate.Set(string(features.ListFromCacheSnapshot) + "=false"))
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, admissionregistrationv1.AddToScheme, appsv1.AddToScheme, authenticationv1.AddToScheme, authorizationv1.AddToScheme,
		autoscalingv2.AddToScheme, autoscalingv1.AddToScheme, batchv1.AddToScheme, certificatesv1.AddToScheme, coordinationv1.AddToScheme,
		discoveryv1.AddToScheme, eventsv1.AddToScheme, flowcontrolv1.AddToScheme, networkingv1.AddToScheme, nodev1.AddToScheme,
		policyv1.AddToScheme, rbacv1.AddToScheme, resourcev1.AddToScheme, schedulingv1.AddToScheme, storagev1.AddToScheme,
		storagemigrationv1.AddToScheme, metricsv1beta1.AddToScheme, v1alpha1.AddToScheme,
		metav1.AddMetaToScheme, metainternalversion.AddToScheme, defaults.Register, conversion.Register, addQueryConversions,
	} {
		utilruntime.Must(add(Scheme))
		utilruntime.Must(add(ExternalScheme))
	}
	metav1.AddToGroupVersion(Scheme, schema.GroupVersion{Version: "v1"})
	// Events of events.k8s.io are those of core/v1 by other names: behind both groups stand the same objects.
	internalEvents := schema.GroupVersion{Group: eventsv1.GroupName, Version: runtime.APIVersionInternal}
	Scheme.AddKnownTypes(internalEvents, &corev1.Event{}, &corev1.EventList{})
	for _, gv := range Scheme.PrioritizedVersionsAllGroups() {
		addInternal(gv)
	}
}

// metaKinds are the kinds of meta/v1 that every group version registers for itself; the internal versions have their own.
var metaKinds = func() map[string]bool {
	s := runtime.NewScheme()
	gv := schema.GroupVersion{Group: "any", Version: "v1"}
	metav1.AddToGroupVersion(s, gv)
	m := map[string]bool{}
	for kind := range s.KnownTypes(gv) {
		m[kind] = true
	}
	return m
}()

func addInternal(gv schema.GroupVersion) {
	internal := schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal}
	for kind := range Scheme.KnownTypes(gv) {
		if metaKinds[kind] || Scheme.Recognizes(internal.WithKind(kind)) {
			continue
		}
		obj, err := Scheme.New(gv.WithKind(kind))
		utilruntime.Must(err)
		Scheme.AddKnownTypeWithName(internal.WithKind(kind), obj)
	}
}
