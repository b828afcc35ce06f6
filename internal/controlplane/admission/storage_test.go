package admission

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// known is a factory whose informers have the objects, and no watch behind them.
func known(t *testing.T, objects ...runtime.Object) informers.SharedInformerFactory {
	t.Helper()
	f := informers.NewSharedInformerFactory(fake.NewClientset(objects...), 0)
	f.Core().V1().Nodes().Informer()
	f.Storage().V1().StorageClasses().Informer()
	f.Networking().V1().IngressClasses().Informer()
	f.StartWithContext(t.Context())
	f.WaitForCacheSync(t.Context().Done())
	return f
}

func objectMeta(name string, age time.Duration, annotations map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Annotations: annotations, CreationTimestamp: metav1.NewTime(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC).Add(-age))}
}

func TestAClaimWithoutAClassGetsTheYoungestDefault(t *testing.T) {
	standard, beta := map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}, map[string]string{"storageclass.beta.kubernetes.io/is-default-class": "true"}
	classes := map[string]*storagev1.StorageClass{
		"none":    {ObjectMeta: objectMeta("none", 0, map[string]string{"storageclass.kubernetes.io/is-default-class": "false"})},
		"old":     {ObjectMeta: objectMeta("old", 2*time.Hour, standard)},
		"young":   {ObjectMeta: objectMeta("young", time.Hour, standard)},
		"young-2": {ObjectMeta: objectMeta("young-2", time.Hour, standard)},
		"beta":    {ObjectMeta: objectMeta("beta", 3*time.Hour, beta)},
	}
	for name, test := range map[string]struct {
		classes []string
		claim   corev1.PersistentVolumeClaim
		want    *string
	}{
		"no default":               {classes: []string{"none"}},
		"one default":              {classes: []string{"none", "old"}, want: ptr.To("old")},
		"an older annotation":      {classes: []string{"beta"}, want: ptr.To("beta")},
		"the younger":              {classes: []string{"old", "young"}, want: ptr.To("young")},
		"of one age, the first":    {classes: []string{"young-2", "young"}, want: ptr.To("young")},
		"a class of its own":       {classes: []string{"old"}, claim: corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("fast")}}, want: ptr.To("fast")},
		"deliberately none":        {classes: []string{"old"}, claim: corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("")}}, want: ptr.To("")},
		"a class in an annotation": {classes: []string{"old"}, claim: corev1.PersistentVolumeClaim{ObjectMeta: objectMeta("", 0, map[string]string{corev1.BetaStorageClassAnnotation: ""})}},
	} {
		t.Run(name, func(t *testing.T) {
			var objects []runtime.Object
			for _, c := range test.classes {
				objects = append(objects, classes[c])
			}
			claim := test.claim.DeepCopy()
			if err := defaultStorageClass(known(t, objects...)).Admit(t.Context(), request(admission.Create, "/v1/persistentvolumeclaims", "shop", "data", claim, nil), nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, claim.Spec.StorageClassName); diff != "" {
				t.Errorf("class (-want +got)\n%s", diff)
			}
		})
	}
}

func TestAnIngressWithoutAClassGetsTheDefault(t *testing.T) {
	f := known(t, &networkingv1.IngressClass{ObjectMeta: objectMeta("web", time.Hour, map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"})},
		&networkingv1.IngressClass{ObjectMeta: objectMeta("other", 0, nil)})
	for name, test := range map[string]struct {
		in   networkingv1.Ingress
		want *string
	}{
		"says nothing":       {want: ptr.To("web")},
		"a class of its own": {in: networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: ptr.To("other")}}, want: ptr.To("other")},
		"the older way":      {in: networkingv1.Ingress{ObjectMeta: objectMeta("", 0, map[string]string{"kubernetes.io/ingress.class": "nginx"})}},
	} {
		t.Run(name, func(t *testing.T) {
			ingress := test.in.DeepCopy()
			if err := defaultIngressClass(f).Admit(t.Context(), request(admission.Create, "networking.k8s.io/v1/ingresses", "shop", "web", ingress, nil), nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, ingress.Spec.IngressClassName); diff != "" {
				t.Errorf("class (-want +got)\n%s", diff)
			}
		})
	}
}

func TestWhatIsInUseIsKeptUntilNobodyUsesIt(t *testing.T) {
	for name, test := range map[string]struct {
		path string
		obj  metav1.Object
		want []string
	}{
		"a claim":             {"/v1/persistentvolumeclaims", &corev1.PersistentVolumeClaim{}, []string{claimProtection}},
		"a volume":            {"/v1/persistentvolumes", &corev1.PersistentVolume{}, []string{volumeProtection}},
		"one that has it":     {"/v1/persistentvolumeclaims", &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{claimProtection}}}, []string{claimProtection}},
		"one that has others": {"/v1/persistentvolumes", &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{"a"}}}, []string{"a", volumeProtection}},
		"something else":      {"/v1/configmaps", &corev1.ConfigMap{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if err := storageInUse().Admit(t.Context(), request(admission.Create, test.path, "", "x", test.obj.(runtime.Object), nil), nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, test.obj.GetFinalizers()); diff != "" {
				t.Errorf("finalizers (-want +got)\n%s", diff)
			}
		})
	}
}

func TestAClaimGrowsOnlyWhereItsClassLetsIt(t *testing.T) {
	f := known(t, &storagev1.StorageClass{ObjectMeta: objectMeta("grows", 0, nil), AllowVolumeExpansion: ptr.To(true)},
		&storagev1.StorageClass{ObjectMeta: objectMeta("fixed", 0, nil), AllowVolumeExpansion: ptr.To(false)}, &storagev1.StorageClass{ObjectMeta: objectMeta("silent", 0, nil)})
	claim := func(class, size string, phase corev1.PersistentVolumeClaimPhase) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{Status: corev1.PersistentVolumeClaimStatus{Phase: phase}}
		c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
		if class != "" {
			c.Spec.StorageClassName = &class
		}
		return c
	}
	const (
		unbound = `persistentvolumeclaims "data" is forbidden: only bound persistent volume claims can be expanded`
		fixed   = `persistentvolumeclaims "data" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize`
	)
	for name, test := range map[string]struct {
		class, size string
		phase       corev1.PersistentVolumeClaimPhase
		says        string
	}{
		"a class that grows":        {"grows", "2Gi", corev1.ClaimBound, ""},
		"the same size":             {"fixed", "1Gi", corev1.ClaimBound, ""},
		"smaller":                   {"fixed", "512Mi", corev1.ClaimBound, ""}, // validation refuses it with its own words
		"not bound yet":             {"grows", "2Gi", corev1.ClaimPending, unbound},
		"a class that does not":     {"fixed", "2Gi", corev1.ClaimBound, fixed},
		"a class that says nothing": {"silent", "2Gi", corev1.ClaimBound, fixed},
		"a class that is gone":      {"gone", "2Gi", corev1.ClaimBound, fixed},
		"no class":                  {"", "2Gi", corev1.ClaimBound, fixed},
	} {
		t.Run(name, func(t *testing.T) {
			a := request(admission.Update, "/v1/persistentvolumeclaims", "shop", "data", claim(test.class, test.size, test.phase), claim(test.class, "1Gi", test.phase))
			if err := claimResize(f).Validate(t.Context(), a, nil); said(err) != test.says {
				t.Errorf("got %q, want %q", said(err), test.says)
			}
		})
	}
}

func TestANewNodeTakesNoPodsBeforeItIsReady(t *testing.T) {
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	other := corev1.Taint{Key: "a", Effect: corev1.TaintEffectNoExecute}
	ready := func(s corev1.ConditionStatus) corev1.NodeStatus {
		return corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: s}}}
	}
	for name, test := range map[string]struct {
		in   corev1.Node
		want []corev1.Taint
	}{
		"says nothing":       {want: []corev1.Taint{taint}},
		"says that it is":    {in: corev1.Node{Status: ready(corev1.ConditionTrue)}},
		"says that it isn't": {in: corev1.Node{Status: ready(corev1.ConditionFalse)}, want: []corev1.Taint{taint}},
		"has the taint":      {in: corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{taint}}}, want: []corev1.Taint{taint}},
		"has others":         {in: corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{other}}}, want: []corev1.Taint{other, taint}},
	} {
		t.Run(name, func(t *testing.T) {
			node := test.in.DeepCopy()
			if err := taintNewNodes().Admit(t.Context(), request(admission.Create, "/v1/nodes", "", "n1", node, nil), nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, node.Spec.Taints); diff != "" {
				t.Errorf("taints (-want +got)\n%s", diff)
			}
		})
	}
}

func TestANodeTellsOnlyOfVolumesOnItsOwnDisk(t *testing.T) {
	own := func() *corev1.PersistentVolume {
		return &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pvc-1", Labels: map[string]string{pv.NodeLabel: "n1"}, Annotations: map[string]string{volume.AnnDynamicallyProvisioned: pv.Provisioner}},
			Spec: corev1.PersistentVolumeSpec{
				PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/var/lib/gitopsd/node/volumes/shop/uid/data"}},
				ClaimRef:               &corev1.ObjectReference{Namespace: "shop", Name: "data"},
			},
		}
	}
	for name, c := range map[string]struct {
		change func(*corev1.PersistentVolume)
		old    string // the node of the one that is there already; empty if there is none
		want   string
	}{
		"one that is brought back":     {func(*corev1.PersistentVolume) {}, "", ""},
		"another node's":               {func(v *corev1.PersistentVolume) { v.Labels[pv.NodeLabel] = "n2" }, "", "on its own disk"},
		"without a node":               {func(v *corev1.PersistentVolume) { v.Labels = nil }, "", "on its own disk"},
		"not made by the provisioner":  {func(v *corev1.PersistentVolume) { v.Annotations = nil }, "", "on its own disk"},
		"a share":                      {func(v *corev1.PersistentVolume) { v.Spec.Local, v.Spec.NFS = nil, &corev1.NFSVolumeSource{} }, "", "on its own disk"},
		"bound to a claim that exists": {func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.UID = "uid" }, "", "can only bring back"},
		"for nobody":                   {func(v *corev1.PersistentVolume) { v.Spec.ClaimRef = nil }, "", "can only bring back"},
		"one that is there and bound":  {func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.UID = "uid" }, "n1", ""},
		"another node's, taken over":   {func(*corev1.PersistentVolume) {}, "n2", "on its own disk"},
		"one that is there, another's": {func(v *corev1.PersistentVolume) { v.Labels[pv.NodeLabel] = "n2" }, "n1", "on its own disk"},
	} {
		v := own()
		c.change(v)
		op, old := admission.Create, runtime.Object(nil)
		if c.old != "" {
			before := own()
			before.Labels[pv.NodeLabel] = c.old
			op, old = admission.Update, before
		}
		err := (&nodeRestriction{Handler: admission.NewHandler(op)}).Validate(t.Context(), attributes(op, v, old, "system:node:n1", "system:nodes"), nil)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.want)
		}
	}
}
