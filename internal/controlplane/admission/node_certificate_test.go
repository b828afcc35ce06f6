package admission

import (
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes/fake"
)

func TestANodeAsksForCertificatesOnlyAsItsPodsAre(t *testing.T) {
	meta := func(name, uid string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + uid)}
	}
	projected := func(signer string) []corev1.Volume {
		return []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{}, {PodCertificate: &corev1.PodCertificateProjection{SignerName: signer}}},
		}}}}
	}
	fixed := func() (*corev1.Node, *corev1.Pod, *corev1.ServiceAccount, *certificatesv1.PodCertificateRequest) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "uid-n"}}
		pod := &corev1.Pod{ObjectMeta: meta("web", "p"), Spec: corev1.PodSpec{NodeName: "n1", ServiceAccountName: "web", Volumes: projected("example.com/s")}}
		account := &corev1.ServiceAccount{ObjectMeta: meta("web", "a")}
		req := &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "req-1"}, Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: "example.com/s", PodName: "web", PodUID: "uid-p", ServiceAccountName: "web", ServiceAccountUID: "uid-a", NodeName: "n1", NodeUID: "uid-n",
		}}
		return node, pod, account, req
	}
	for name, test := range map[string]struct {
		change func(*corev1.Pod, *certificatesv1.PodCertificateRequest)
		want   string
	}{
		"as it is":                {func(*corev1.Pod, *certificatesv1.PodCertificateRequest) {}, ""},
		"another node's name":     {func(_ *corev1.Pod, r *certificatesv1.PodCertificateRequest) { r.Spec.NodeName = "n2" }, `spec.nodeName is "n2"`},
		"another node's UID":      {func(_ *corev1.Pod, r *certificatesv1.PodCertificateRequest) { r.Spec.NodeUID = "x" }, "of node n1"},
		"a Pod that is not there": {func(_ *corev1.Pod, r *certificatesv1.PodCertificateRequest) { r.Spec.PodName = "none" }, `"none" not found`},
		"an earlier Pod's UID":    {func(_ *corev1.Pod, r *certificatesv1.PodCertificateRequest) { r.Spec.PodUID = "x" }, "of pod shop/web"},
		"a Pod of another node":   {func(p *corev1.Pod, _ *certificatesv1.PodCertificateRequest) { p.Spec.NodeName = "n2" }, `is on node "n2"`},
		"a mirror Pod": {func(p *corev1.Pod, _ *certificatesv1.PodCertificateRequest) {
			p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
		}, "mirror pod"},
		"another account":                {func(p *corev1.Pod, _ *certificatesv1.PodCertificateRequest) { p.Spec.ServiceAccountName = "db" }, `runs as "db"`},
		"an earlier account's UID":       {func(_ *corev1.Pod, r *certificatesv1.PodCertificateRequest) { r.Spec.ServiceAccountUID = "x" }, "of service account shop/web"},
		"a signer that nobody asked for": {func(_ *corev1.Pod, r *certificatesv1.PodCertificateRequest) { r.Spec.SignerName = "example.com/admin" }, "no volume of pod"},
		"a Pod without such a volume":    {func(p *corev1.Pod, _ *certificatesv1.PodCertificateRequest) { p.Spec.Volumes = nil }, "no volume of pod"},
	} {
		node, pod, account, req := fixed()
		test.change(pod, req)
		r := &nodeRestriction{Handler: admission.NewHandler(admission.Create), client: fake.NewClientset(node, pod, account)}
		err := r.Validate(t.Context(), attributes(admission.Create, req, nil, "system:node:n1", "system:nodes"), nil)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, test.want)
		}
	}
}

func TestANodeDescribesItsOwnDriversAndDevicesOnly(t *testing.T) {
	slice := func(node string) *resourcev1.ResourceSlice {
		s := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "s"}}
		if node != "" {
			s.Spec.NodeName = &node
		}
		return s
	}
	for name, test := range map[string]struct {
		obj     runtime.Object
		refused bool
	}{
		"its own CSINode":           {&storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, false},
		"another's CSINode":         {&storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, true},
		"a slice of its own":        {slice("n1"), false},
		"a slice of another's":      {slice("n2"), true},
		"a slice of no node at all": {slice(""), true},
	} {
		r := &nodeRestriction{Handler: admission.NewHandler(admission.Create)}
		err := r.Validate(t.Context(), attributes(admission.Create, test.obj, nil, "system:node:n1", "system:nodes"), nil)
		if (err != nil) != test.refused {
			t.Errorf("%s: got %v, want refused=%v", name, err, test.refused)
		}
	}
}
